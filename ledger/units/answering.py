"""Units that answer images with several sets of weights, and read features beside the answers."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from ledger.digest import json_digest
from ledger.evaluator_input import Depth
from ledger.networks.features import FeatureReader, feature_layers
from ledger.networks.inference import answers_with
from ledger.networks.network import Network
from ledger.weights import tensor_files

from .model_card import ModelCard
from .packing import PackedImages
from .place import UnitPlace
from .surroundings import Surroundings

IMAGES = 128
"""Images of a unit, in whole batches: few enough that a lost one costs little, and enough that sending it does not."""

Features = Mapping[Depth, "np.ndarray | None"]
"""Features, float32 (n, f), by depth; None where they cannot be told."""


@dataclass(frozen=True, eq=False)
class AnsweredImages:
    """What one set of weights answers to some images."""

    logits: Tensor
    """float32 (n, classes)."""
    features: Features | None
    """None where they were not read."""


def answer(
    network: Network, weights: Mapping[str, dict[str, Tensor]], batches: Iterable[Tensor], *, features: bool
) -> dict[str, AnsweredImages]:
    """Let several sets of weights answer images: each image is read once for all of them.

    Args:
        network: The network.
        weights: As :meth:`Network.prepare_weights` returns them, by digest.
        batches: Preprocessed images (n, channels, height, width), at least one batch.
        features: Whether to read features as well.

    Raises:
        NonFiniteError: A logit is NaN or infinite.
    """
    readers = {digest: FeatureReader(feature_layers(network)) for digest in weights} if features else {}
    parts: dict[str, list[Tensor]] = {digest: [] for digest in weights}
    for batch in batches:
        for digest, prepared in weights.items():
            with readers[digest].reading(len(batch)) if readers else nullcontext():
                parts[digest].append(answers_with(network, prepared, batch))
    return {
        digest: AnsweredImages(torch.cat(logits), readers[digest].features() if readers else None)
        for digest, logits in parts.items()
    }


def chunks(indices: Sequence[int], batch_size: int) -> Iterable[Sequence[int]]:
    """Yield the images of one unit after the other: whole batches, so that it does not matter who answers them."""
    size = max(1, IMAGES // batch_size) * batch_size
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


@dataclass(frozen=True)
class AnsweringUnit:
    """AnsweredImages some images."""

    card: ModelCard
    surroundings: Surroundings
    weights: tuple[str, ...]
    """Digests of the weights that answer."""
    images: PackedImages
    features: bool

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides its result."""
        return json_digest(
            [
                "answer",
                self.card.digest,
                asdict(self.surroundings),
                list(self.weights),
                self.images.digest,
                self.features,
            ]
        )

    @property
    def needs(self) -> tuple[str, ...]:
        """Digests of the shared bytes that it needs."""
        return tuple(dict.fromkeys((self.card.weights, *self.weights)))

    def run(self, place: UnitPlace) -> bytes:
        """Answer them."""
        prepared = {digest: place.prepared(digest) for digest in self.weights}
        batches = self.images.batches(self.card.preprocessing)
        tensors: dict[str, Tensor] = {}
        for digest, found in answer(place.network, prepared, batches, features=self.features).items():
            tensors[digest] = found.logits
            for depth, values in (found.features or {}).items():
                if values is not None:
                    tensors[f"{digest}#{depth.value}"] = torch.from_numpy(values)
        return tensor_files.serialise(tensors)

    @staticmethod
    def read(data: bytes, weights: Collection[str], *, features: bool) -> dict[str, AnsweredImages]:
        """Return what a result says, by digest of the weights.

        Args:
            data: The result.
            weights: The digests.
            features: Whether features were read.

        """
        tensors = load(data)
        found = {}
        for digest in weights:
            read = {depth: tensors.get(f"{digest}#{depth.value}") for depth in Depth}
            known = {depth: None if values is None else values.numpy() for depth, values in read.items()}
            found[digest] = AnsweredImages(tensors[digest], known if features else None)
        return found


def joined(parts: Sequence[AnsweredImages]) -> AnsweredImages:
    """Return the answers to several chunks of images, at least one, as one."""
    logits = torch.cat([part.logits for part in parts])
    if any(part.features is None for part in parts):
        return AnsweredImages(logits, None)
    features: dict[Depth, np.ndarray | None] = {}
    for depth in Depth:
        values = [part.features[depth] for part in parts if part.features is not None]
        known = [one for one in values if one is not None]
        features[depth] = np.concatenate(known) if len(known) == len(values) else None
    return AnsweredImages(logits, features)
