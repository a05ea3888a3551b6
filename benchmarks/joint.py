"""Forgetting many classes at once: is each forgotten as thoroughly as it would be alone?

    python benchmarks/joint.py path/to/cifar10-images.zip path/to/models [--only cifar,pairs] [--work DIR] [--json FILE]

A solver sees the mean of the forgotten classes' spaces, each of trace 1. In the mean of ``k`` spaces a direction that
one class alone uses has a ``k``-th of its share, so the same ``alpha_f`` removes less of it: *mean*. Multiplied by
``k``, ``alpha_f`` gives the share back: *per class*, what the ledger does. Here both are measured at strengths that
stay the same while ``k`` grows, so that the normalisation is all that differs.

*Removed* is the part of a class's own energy that the edit takes out of what a map computes of it,
``|dW F|^2 / |W F|^2`` with the class's space ``F``, in the mean over edited maps and forgotten classes. *Of alone* is
the same, relative to an edit that forgets this class only and protects the same retained classes.
"""

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import digit_pairs
import numpy as np
import torch
from cifar import Cifar, arguments, unpack
from classes import ORDER
from digit_pairs import say
from tables import bracketed, markdown
from torch import Tensor

from ledger.algebra.spaces import Space
from ledger.algebra.strength import Strength
from ledger.candidates.candidate import Candidate, CandidateBuilder, Recipe
from ledger.domain.linear_map import LinearMap
from ledger.domain.settings import Settings
from ledger.images.loading import load_images
from ledger.images.sampling import evaluation_samples
from ledger.networks.inference import logits
from ledger.service.computation.class_space_cache import ClassSpaceCache
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.progress import Silent
from ledger.spaces.bases import AnySpace

MEAN, PER_CLASS, EITHER = "mean", "per class", "either"
BATCH = 250
COLUMNS = (
    *("alphas", "forgotten at once", "normalisation", "forgotten, mean %", "worst %", "confidence %"),
    *("retained drop", "removed %", "of alone %"),
)


@dataclass(frozen=True)
class Study:
    """What to do to a network."""

    solver: str
    depth: int
    """Layers edited, counted from the output."""
    counts: tuple[int, ...]
    """Classes forgotten at once."""
    alphas: tuple[tuple[float, float], ...]
    """Pairs at which one class is forgotten, or nearly."""


CIFAR = Study("projection", 11, (1, 2, 4, 8), ((100.0, 1.0), (100.0, 3.0), (1000.0, 30.0)))
PAIRS = Study("least-squares", 1, (1, 2, 4, 8, 50), ((1000.0, 100.0), (1000.0, 1000.0)))


@dataclass(frozen=True)
class Row:
    """One edit, measured on test images; shares, not per cent."""

    alphas: tuple[float, float]
    count: int
    """Classes forgotten at once."""
    normalisation: str
    mean: float
    """Mean accuracy of the forgotten classes."""
    worst: float
    """Largest accuracy of one of them."""
    confidence: float
    """Mean probability that their images' true class gets."""
    drop: float
    """Mean accuracy that the other classes lost, against the registered weights."""
    removed: float
    """Part of a forgotten class's energy that is removed."""
    of_alone: float
    """The same relative to forgetting it alone, in the mean over classes."""


@dataclass
class Subject:
    """A registered network, its class spaces, and the images it is measured on.

    Args:
        bench: Lays the model out.
        order: Classes; the first ``k`` of them are forgotten at once.
        test: Preprocessed images (n, channels, height, width) and labels (n,).
    """

    bench: Workbench
    order: Sequence[int]
    test: tuple[Tensor, Tensor]

    @cached_property
    def retain(self) -> dict[int, dict[str, AnySpace]]:
        """Every class's space as a retained class, by class and map."""
        return {
            c.record.class_index: c.spaces for c in ClassSpaceCache(self.bench).collect_and_store(frozenset(), Silent())
        }

    @cached_property
    def forget(self) -> dict[int, dict[str, AnySpace]]:
        """Every class's space as a forgotten class; only those in ``order`` are to be used."""
        collected = ClassSpaceCache(self.bench).collect_and_store(frozenset(self.order), Silent())
        return {c.record.class_index: c.spaces for c in collected}

    @cached_property
    def registered(self) -> Tensor:
        """Test accuracy of every class under the registered weights, float64 (classes,)."""
        return self._answers(self.bench.anchor_state)[0]

    def measure(self, study: Study) -> Iterator[Row]:
        """Yield a row for each number of classes, pair of alphas and normalisation."""
        for count in study.counts:
            forgotten = self.order[:count]
            retained = [k for k in range(len(self.registered)) if k not in forgotten]
            joint = self._builder(forgotten, retained, study.solver)
            single = {k: self._builder([k], retained, study.solver) for k in forgotten}
            for alphas in study.alphas:
                alone = Recipe(study.solver, study.depth, Strength(*alphas))
                taken_alone = {k: self.removed(single[k].build(alone), k, retained) for k in forgotten}
                for name, classes in normalisations(count).items():
                    candidate = joint.build(Recipe(study.solver, study.depth, Strength(*alphas, classes)))
                    taken = {k: self.removed(candidate, k, retained) for k in forgotten}
                    accuracy, confidence = self._answers(candidate.state)
                    yield Row(
                        alphas=alphas,
                        count=count,
                        normalisation=name,
                        mean=float(accuracy[forgotten].mean()),
                        worst=float(accuracy[forgotten].max()),
                        confidence=float(confidence[forgotten].mean()),
                        drop=float((self.registered - accuracy)[retained].mean()),
                        removed=statistics.mean(taken.values()),
                        of_alone=statistics.mean(taken[k] / taken_alone[k] for k in forgotten),
                    )

    def removed(self, candidate: Candidate, k: int, retained: Sequence[int]) -> float:
        """Return the part of class ``k``'s energy that a candidate removes, in the mean over edited maps.

        In the classifier, only the class's own output counts, above the mean of the retained ones: what all outputs
        have in common decides nothing.
        """
        layers = self.bench.network.layers
        parts = []
        for m in (m for layer in layers[-candidate.recipe.depth :] for m in layer.maps):
            before, after = (_rows(m, weights) for weights in (self.bench.anchor_state, candidate.state))
            if m in layers[-1].maps and len(before) == len(self.registered):
                before, after = (w[[k]] - w[retained].mean(0) for w in (before, after))
            space = self.forget[k][m.key]
            assert isinstance(space, Space), "networks with grouped convolutions are not measured here"
            factor = space.factor.float()
            parts.append(float(((after - before) @ factor).square().sum() / (before @ factor).square().sum()))
        return statistics.mean(parts)

    def _builder(self, forgotten: Sequence[int], retained: Sequence[int], solver: str) -> CandidateBuilder:
        inside = sorted(forgotten)
        return CandidateBuilder(
            self.bench.anchor_state,
            [layer.maps for layer in self.bench.network.layers],
            retain=lambda key: [self.retain[k][key] for k in retained],
            forget=lambda key: [self.forget[k][key] for k in inside],
            solvers=self.bench.ledger.plugins.solvers([solver]),
            forgotten=inside,
            classes=len(self.bench.model.labels),
        )

    def _answers(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return accuracy, and mean probability of the true class, of every class: float64 (classes,) each."""
        images, labels = self.test
        probabilities = logits(self.bench.network, state, torch.split(images, BATCH)).double().softmax(1)
        correct = (probabilities.argmax(1) == labels).double()
        true = probabilities.gather(1, labels[:, None])[:, 0]
        own = [labels == k for k in range(probabilities.shape[1])]
        return torch.stack([correct[o].mean() for o in own]), torch.stack([true[o].mean() for o in own])


def normalisations(count: int) -> dict[str, int]:
    """Return by how much each normalisation multiplies ``alpha_f`` for so many classes; for one they are the same."""
    return {EITHER: 1} if count == 1 else {MEAN: 1, PER_CLASS: count}


def _rows(m: LinearMap, state: Mapping[str, Tensor]) -> Tensor:
    """Return a map's weight, float32 (o, i)."""
    return state[m.parameter].flatten(1)[m.start : m.stop].float()


def cifar(folder: Path, data: Path, models: Path, each: int) -> Subject:
    """Register the CIFAR-10 network; it is measured on ``each`` test images of every class."""
    bench = Cifar(folder, data, models, Settings()).bench
    split = bench.source.test
    chosen = evaluation_samples(split.labels, each, seed=0)
    labels = torch.tensor(split.labels)[chosen]
    return Subject(bench, list(ORDER), (load_images(split, chosen, bench.model.preprocessing), labels))


def pairs(folder: Path) -> Subject:
    """Train and register the digit pairs' network; it is measured on all test images."""
    folder.mkdir()
    trained = digit_pairs.Bench(folder)
    drawn = np.random.default_rng(digit_pairs.SEED).permutation(digit_pairs.CLASSES)[: PAIRS.counts[-1]]
    return Subject(open_workbench(trained.ledger, digit_pairs.MODEL), [int(k) for k in drawn], trained.test)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, ordered by alphas."""
    lines = []
    for row in sorted(rows, key=lambda row: (row.alphas, row.count, row.normalisation)):
        cells = (
            bracketed(row.alphas),
            str(row.count),
            row.normalisation,
            *(f"{100 * share:.1f}" for share in (row.mean, row.worst, row.confidence)),
            f"{100 * row.drop:+.2f}",
            f"{100 * row.removed:.1f}",
            f"{100 * row.of_alone:.0f}",
        )
        lines.append(cells)
    return markdown(COLUMNS, lines)


def main() -> None:
    """Measure both data sets."""
    parser = arguments(__doc__)
    parser.add_argument("--only", default="cifar,pairs", help="comma-separated data sets")
    parser.add_argument("--each", type=int, default=500, help="CIFAR-10 test images of every class")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    figures: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.only.split(","):
            folder = Path(scratch) / name
            study = CIFAR if name == "cifar" else PAIRS
            if name == "cifar":
                data = unpack(options.images, options.work or Path(scratch))
                subject = cifar(folder, data, options.models, options.each)
            else:
                subject = pairs(folder)
            figures[name] = []
            for row in subject.measure(study):
                say(str(row))
                figures[name].append(row)
            before = 100 * float(subject.registered.mean())
            print(f"\n{name}: {study.solver}, last {study.depth} layers; {before:.1f} % accuracy before\n")
            print(table(figures[name]), flush=True)
    if options.json:
        shown = {name: [asdict(row) for row in rows] for name, rows in figures.items()}
        options.json.write_text(json.dumps(shown, indent=2) + "\n")


if __name__ == "__main__":
    main()
