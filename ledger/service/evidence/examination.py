"""Put weights under examination: their answers at once, features and trainable copies when an evaluator asks.

An image is decoded once for all weights, since decoding often costs more than the network does.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ledger.evaluator_input import Depth, EvaluationInput, NetworkRole, Outputs, SplitName
from ledger.images import loading
from ledger.networks.opening import build_network
from ledger.service.computation.kept_evaluation import KeptEvaluation
from ledger.service.computation.measured_images import ImageBounds, splits_of
from ledger.service.computation.workbench import Workbench
from ledger.service.progress import Progress, counted
from ledger.units.answering import AnsweredImages, Features, chunks, joined

from .answering_tasks import AnsweringTask, Prepared
from .measuring import frozen, read_only_outputs


@dataclass(frozen=True, eq=False)
class NamedWeights:
    """Weights, and the digest of the file that they are from."""

    digest: str
    state: Mapping[str, Tensor]


class Examination:
    """The images of one model, and several weights that answer them.

    Args:
        bench: The model.
        weights: The weights, by role. Several roles may have the same.
        bounds: How many images.
        progress: Told about phases.
        keep: Whether the anchor's answers are taken from what is kept of them, and kept. Bounds are those of the gates.
    """

    def __init__(
        self,
        bench: Workbench,
        weights: Mapping[NetworkRole, NamedWeights],
        bounds: ImageBounds,
        progress: Progress,
        *,
        keep: bool = False,
    ) -> None:
        self.bench = bench
        self._progress = progress
        source, seed = bench.source, bench.model.settings.seed
        self._splits = splits_of(source)
        self._parts = bounds.samples(source, seed)
        self.samples: dict[SplitName, list[int]] = {name: [*both, *own] for name, (both, own) in self._parts.items()}
        self._weights = {one.digest: one for one in weights.values()}
        common = {name: both for name, (both, _) in self._parts.items()}
        self._kept = KeptEvaluation(bench, common) if keep and bench.anchor.weights in self._weights else None
        self.networks = {role: WeightsUnderExamination(self, one.digest) for role, one in weights.items()}

    @property
    def counts(self) -> dict[str, int]:
        """Number of images, by split."""
        return {f"{name} images": len(indices) for name, indices in self.samples.items()}

    def outputs(self, digest: str, split: SplitName) -> Outputs:
        """Return the answers of some weights; all weights answer when the first ones are asked.

        Raises:
            NonFiniteError: A logit is NaN or infinite.
        """
        return self._outputs[digest][split]

    def features(self, digest: str, split: SplitName, depth: Depth) -> "np.ndarray | None":
        """Return the features of some weights; those of all weights are read when the first ones are asked for."""
        return self._features[digest][split][depth]

    def module(self, digest: str) -> nn.Module:
        """Return a copy of the network with some weights."""
        network = self.bench.network
        twin = replace(network, module=copy.deepcopy(network.module))
        twin.load(self._weights[digest].state, f"weights {digest[:12]}")
        for parameter in twin.module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        return twin.module.eval()

    def images(self, split: SplitName, positions: Sequence[int]) -> Tensor:
        """Return preprocessed images, float32 (k, channels, height, width), by their positions in the samples."""
        indices = [self.samples[split][position] for position in positions]
        return loading.load_images(self._splits[split], indices, self.bench.model.preprocessing)

    def fresh(self, seed: int) -> nn.Module:
        """Return the network as its architecture begins, on the processor."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network(
                self.bench.ledger.plugins, self.bench.model.architecture, len(self.bench.model.labels)
            )
        return network.module.eval()

    def input(self, forgotten: frozenset[int], compared: NetworkRole = NetworkRole.ORIGINAL) -> EvaluationInput:
        """Return what evaluators get.

        Args:
            forgotten: The classes that the version should have forgotten.
            compared: What it is compared with. Where the original is gone, this takes its place.
        """
        version, base = self.networks[NetworkRole.VERSION], self.networks[compared]
        original = self.networks.get(NetworkRole.ORIGINAL, base)
        beside = base.digest != original.digest
        return EvaluationInput(
            self.bench.model.labels.labels,
            forgotten,
            train=version.train,
            test=version.test,
            base_train=base.train,
            base_test=base.test,
            seed=self.bench.model.settings.seed,
            anchor_train=original.train if beside else None,
            anchor_test=original.test if beside else None,
            networks=dict(self.networks),
            images=self.images,
            fresh=self.fresh,
            batch_size=self.bench.model.settings.batch_size,
        )

    def read_features(self) -> None:
        """Read all features now, so that a process which is forked later has them."""
        _ = self._features

    @cached_property
    def _outputs(self) -> dict[str, dict[SplitName, Outputs]]:
        answers = self._pass("forward passes", features=False)
        labels = {name: np.asarray(split.labels, dtype=np.int64) for name, split in self._splits.items()}
        return {
            digest: {
                name: read_only_outputs(labels[name][self.samples[name]], found.logits) for name, found in one.items()
            }
            for digest, one in answers.items()
        }

    @cached_property
    def _features(self) -> dict[str, dict[SplitName, Features]]:
        return {
            digest: {
                name: {
                    depth: None if values is None else frozen(values)
                    for depth, values in (found.features or {}).items()
                }
                for name, found in one.items()
            }
            for digest, one in self._pass("features", features=True).items()
        }

    def _pass(self, phase: str, *, features: bool) -> dict[str, dict[SplitName, AnsweredImages]]:
        """Let all weights answer all images; return what they answer by digest and split.

        Args:
            phase: What to call it.
            features: Whether to read features as well.
        """
        states = {digest: one.state for digest, one in self._weights.items()}
        anchor, size = self.bench.anchor.weights, self.bench.model.settings.batch_size
        kept = None if features or self._kept is None else self._kept.find()
        prepared = Prepared(self.bench, states)
        # Images of every request apart from those of one, so that kept answers are to the same batches.
        asked_of_both = tuple(digest for digest in states if kept is None or digest != anchor), tuple(states)
        tasks = {
            name: [
                AnsweringTask(prepared, asked, split, chunk, features=features)
                for indices, asked in zip(self._parts[name], asked_of_both, strict=True)
                for chunk in (chunks(indices, size) if asked else ())
            ]
            for name, split in self._splits.items()
        }
        self._progress.phase(phase, sum(map(len, tasks.values())))
        found: dict[str, dict[SplitName, AnsweredImages]] = {digest: {} for digest in states}
        with prepared.offered():
            for name, own in tasks.items():
                parts = list(counted(self._progress, self.bench.ledger.engine.each(own, keep=True)))
                for digest in states:
                    before = [AnsweredImages(kept[name], None)] if kept is not None and digest == anchor else []
                    found[digest][name] = joined([*before, *(part[digest] for part in parts if digest in part)])
        if self._kept is not None and kept is None and not features:
            lengths = {name: len(both) for name, (both, _) in self._parts.items()}
            self._kept.keep({name: one.logits[: lengths[name]] for name, one in found[anchor].items()})
        return found


@dataclass(frozen=True, eq=False)
class WeightsUnderExamination:
    """What evaluators get to see of one set of weights: :class:`~ledger.evaluator_input.ExaminedNetwork`."""

    _examination: Examination
    digest: str

    @property
    def train(self) -> Outputs:
        """AnsweredImages to the sampled training images."""
        return self._examination.outputs(self.digest, SplitName.TRAIN)

    @property
    def test(self) -> Outputs:
        """AnsweredImages to the sampled test images."""
        return self._examination.outputs(self.digest, SplitName.TEST)

    def features(self, split: SplitName, depth: Depth) -> "np.ndarray | None":
        """Return what flows into a layer, float32 (n, f), read-only; None if that cannot be told."""
        return self._examination.features(self.digest, SplitName(split), Depth(depth))

    def copy(self) -> nn.Module:
        """Return a network of one's own with these weights, in evaluation mode."""
        return self._examination.module(self.digest)
