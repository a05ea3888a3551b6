"""Units that let the anchor weights answer calibration images, block by block."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import torch
from safetensors.torch import load
from torch import Tensor

from ledger.answers.answering import AnswerReader
from ledger.answers.calibration import Batch
from ledger.answers.featured_answers import FeaturedAnswers
from ledger.digest import json_digest
from ledger.networks.network import Network
from ledger.weights import tensor_files

from .model_card import ModelCard
from .packing import PackedImages
from .place import UnitPlace
from .surroundings import Surroundings

IMAGES = 128
"""Images of a unit, in whole blocks: few enough that a lost one costs little, and enough that sending it does not."""
LOGITS, FEATURES, INNER = "logits", "features", "inner"


def answer_anchor(network: Network, batches: Iterable[Tensor]) -> FeaturedAnswers:
    """Let the anchor weights answer images, batch by batch.

    Args:
        network: With the anchor weights.
        batches: Preprocessed images (n, channels, height, width) each, at least one batch.

    Returns:
        The answers to all of them; labels are not told.

    Raises:
        NonFiniteError: An output is NaN or infinite.
    """
    reader = AnswerReader(network)
    unknown = (Batch(images, torch.zeros(len(images), dtype=torch.long)) for images in batches)
    return FeaturedAnswers.joined([reader.anchor(batch) for batch in unknown])


@dataclass(frozen=True)
class AnchorUnit:
    """Answers some blocks."""

    card: ModelCard
    surroundings: Surroundings
    images: PackedImages
    """One batch for each block."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides its result."""
        return json_digest(["anchor", self.card.digest, asdict(self.surroundings), self.images.digest])

    @property
    def needs(self) -> tuple[str, ...]:
        """Digests of the shared bytes that it needs."""
        return (self.card.weights,)

    def run(self, place: UnitPlace) -> bytes:
        """Answer them."""
        return written(answer_anchor(place.network, self.images.batches(self.card.preprocessing)))


def written(answers: FeaturedAnswers) -> bytes:
    """Return answers as bytes, without their labels."""
    named = {LOGITS: answers.logits, FEATURES: answers.features, INNER: answers.inner}
    return tensor_files.serialise({name: tensor for name, tensor in named.items() if tensor is not None})


def answers_in(data: bytes, labels: Sequence[int]) -> FeaturedAnswers:
    """Return the answers that bytes hold.

    Args:
        data: From :func:`written`.
        labels: Class index of each image.
    """
    found = {name: tensor.clone() for name, tensor in load(data).items()}
    known = torch.tensor(labels, dtype=torch.long)
    return FeaturedAnswers(
        found[LOGITS], found.get(FEATURES), known, torch.ones(len(known), dtype=torch.bool), found.get(INNER)
    )
