"""Put many weights of one network before the evaluators, each looked at once however many comparisons it is part of.

The ledger's own :class:`~ledger.service.evidence.examination.Examination` is of one version. Here a dozen versions are
compared with the same original and the same retrained networks, so answers and features are kept by digest.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from ledger.plugins.evaluators.rmia import RmiaAttack, RmiaEvaluator
from methods.task import State
from references import Shelf
from torch import Tensor, nn

from ledger.digest import sha256_hex
from ledger.evaluator_input import Depth, EvaluationInput, NetworkRole, Outputs, SplitName
from ledger.images.loading import load_images
from ledger.images.sampling import evaluation_samples
from ledger.networks.features import FeatureReader, feature_layers
from ledger.networks.inference import answers_with
from ledger.networks.opening import build_network, open_network
from ledger.service.evidence.measuring import measure, read_only_outputs
from ledger.weights import tensor_files

BATCH = 64


class Gallery:
    """The images that evaluators look at, and the weights that were shown them.

    Args:
        shelf: The kind of network, and its images.
        base: Weights with which the network is opened.
        train_each: Most training images of a class.
        test_each: Most test images of a class; None for all.
        depths: At which features can be told; probes cost time at each.
        seed: Of which images.
    """

    def __init__(
        self,
        shelf: Shelf,
        base: State,
        *,
        train_each: int | None = 200,
        test_each: int | None = None,
        depths: Sequence[Depth] = (Depth.PENULTIMATE,),
        seed: int = 0,
    ) -> None:
        self.shelf, self.depths = shelf, tuple(depths)
        source, preprocessing = shelf.source, shelf.reference.preprocessing
        bounds = {SplitName.TRAIN: (source.train, train_each), SplitName.TEST: (source.test, test_each)}
        self._images: dict[SplitName, Tensor] = {}
        self.labels: dict[SplitName, np.ndarray] = {}
        for name, (split, most) in bounds.items():
            samples = evaluation_samples(split.labels, most, seed)
            self._images[name] = load_images(split, samples, preprocessing)
            self.labels[name] = np.asarray(split.labels, dtype=np.int64)[samples]
        self.network = open_network(
            shelf.plugins,
            shelf.reference.architecture,
            len(source.labels),
            base,
            lambda _: self._images[SplitName.TRAIN][:1],
            source="the base weights",
        )
        self._shown: dict[str, Exhibit] = {}
        self._attacks: dict[tuple[frozenset[int], int], RmiaAttack] = {}

    def exhibit(self, state: State) -> "Exhibit":
        """Return some weights as evaluators see them; the same weights are the same exhibit."""
        digest = sha256_hex(tensor_files.serialise(state))
        return self._shown.setdefault(digest, Exhibit(self, digest, state))

    def clear(self) -> None:
        """Forget all weights, to make room."""
        self._shown.clear()

    def images(self, split: SplitName, positions: Sequence[int]) -> Tensor:
        """Return preprocessed images, float32 (k, channels, height, width), by their positions among the answers."""
        return self._images[split][list(positions)]

    def fresh(self, seed: int) -> nn.Module:
        """Return the network as its architecture begins."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = build_network(self.shelf.plugins, self.shelf.reference.architecture, len(self.shelf.source.labels))
        return built.module.eval()

    def input(
        self,
        version: "Exhibit",
        original: "Exhibit",
        forgotten: frozenset[int],
        *,
        retrained: "Exhibit | None" = None,
        alone: bool = False,
        seed: int = 0,
    ) -> EvaluationInput:
        """Return what evaluators get.

        Args:
            version: The weights that are measured.
            original: What they were made from.
            forgotten: What they should have forgotten.
            retrained: Weights that never saw it.
            alone: Show the features and copies of the version only: figures of the others are taken when it is their
                turn, rather than again for each version.
            seed: For what evaluators draw.
        """
        networks: dict[NetworkRole, Any] = {NetworkRole.VERSION: version}
        if not alone:
            networks[NetworkRole.ORIGINAL] = original
            networks |= {NetworkRole.RETRAINED: retrained} if retrained is not None else {}
        return EvaluationInput(
            tuple(self.shelf.source.labels),
            forgotten,
            train=version.train,
            test=version.test,
            base_train=original.train,
            base_test=original.test,
            seed=seed,
            networks=networks,
            images=self.images,
            fresh=self.fresh,
            batch_size=BATCH,
        )

    def ask(self, name: str, data: EvaluationInput) -> dict[str, Any]:
        """Return what an evaluator finds.

        Raises:
            SystemExit: There is none of this name.
        """
        offered = self.shelf.plugins.evaluators()
        if name not in offered:
            raise SystemExit(f"no evaluator is called {name}: they are {', '.join(sorted(offered))}")
        evaluator, info = offered[name]
        return measure(evaluator, info, data, name=name)

    def attack(self, data: EvaluationInput) -> RmiaAttack:
        """Return the membership attack on a class, whose reference models are trained when it is first asked for."""
        which = (data.forgotten, data.seed)
        if which not in self._attacks:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(data.seed)
                self._attacks[which] = RmiaEvaluator().prepare(data)
        return self._attacks[which]


@dataclass(frozen=True, eq=False)
class Exhibit:
    """Some weights as evaluators see them: :class:`~ledger.evaluator_input.ExaminedNetwork`."""

    gallery: Gallery
    digest: str
    weights: State

    @property
    def train(self) -> Outputs:
        """Answers to the training images."""
        return self._seen[SplitName.TRAIN][0]

    @property
    def test(self) -> Outputs:
        """Answers to the test images."""
        return self._seen[SplitName.TEST][0]

    def features(self, split: SplitName, depth: Depth) -> np.ndarray | None:
        """Return what flows into a layer, float32 (n, f), read-only; None at a depth that the gallery leaves out."""
        return self._seen[split][1].get(depth) if depth in self.gallery.depths else None

    def copy(self) -> nn.Module:
        """Return a network of one's own with these weights, in evaluation mode."""
        network = self.gallery.network
        twin = replace(network, module=copy.deepcopy(network.module))
        twin.load(self.weights, f"weights {self.digest[:12]}")
        return twin.module.requires_grad_(requires_grad=True).eval()

    @cached_property
    def _seen(self) -> Mapping[SplitName, tuple[Outputs, Mapping[Depth, np.ndarray | None]]]:
        gallery, network = self.gallery, self.gallery.network
        prepared = network.prepare_weights(self.weights)
        found = {}
        for split, labels in gallery.labels.items():
            reader = FeatureReader(feature_layers(network))
            answers = []
            for start in range(0, len(labels), BATCH):
                batch = gallery.images(split, range(start, min(start + BATCH, len(labels))))
                with reader.reading(len(batch)):
                    answers.append(answers_with(network, prepared, batch))
            features = reader.features()
            for values in features.values():
                if values is not None:
                    values.flags.writeable = False
            found[split] = (read_only_outputs(labels, torch.cat(answers)), features)
        return found
