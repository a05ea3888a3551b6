"""Every solver at every depth: what forgetting costs there, and what a linear probe still reads afterwards.

    python benchmarks/solvers.py path/to/cifar10-images.zip path/to/models [--only cifar,pairs] [--work DIR] [--json F]

One table over solver, number of layers edited, data set and number of forgotten classes. In each cell the ledger's own
search, held to that solver and that depth, chooses the strength on calibration images; everything shown is measured on
test images. Beside them the registered weights, and for digit pairs a network trained from scratch without the classes.

The probe learns from training images of all classes: on CIFAR-10 from 300 seeded ones a class, on digit pairs from all.
"""

import copy
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import digit_pairs
import numpy as np
import torch
from accuracy import class_accuracies
from cifar import Cifar, arguments, unpack
from classes import ORDER
from digit_pairs import MOST_DROP, MOST_FORGOTTEN, ROUNDING, say
from left_out import Without
from probe import probe
from tables import markdown
from torch import Tensor

from ledger.candidates.candidate import CandidateBuilder
from ledger.candidates.search_result import SearchResult
from ledger.domain.class_spaces import NewClassSpace
from ledger.domain.settings import Settings
from ledger.hookspecs import Split
from ledger.images.loading import load_images
from ledger.images.sampling import evaluation_samples
from ledger.service.computation.class_space_cache import ClassSpaceCache, CollectedSpace
from ledger.service.computation.unlearning import search
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.progress import Silent

CIFAR_FORGOTTEN = (ORDER[:1], ORDER[:4])
PAIRS_FORGOTTEN = (1, 5, 50)
"""How many, of one seeded permutation."""
PROBE_EACH = 300
"""Training images per class that the probe learns from on CIFAR-10: all 50,000, once a cell, would take too long."""
CIFAR_MOST_FORGOTTEN = 0.01
NO_BAR = 1.0
"""Confidence that a candidate may lose. At the usual bar the search gives up a depth where nothing keeps it."""
BATCH = 256
HEADER = (
    *("data", "forgotten classes", "solver", "layers", "retained drop"),
    *("worst forgotten %", "probe on forgotten %", "holds"),
)


@dataclass(frozen=True)
class Row:
    """One line of the table: some weights on test images."""

    data: str
    forgotten: tuple[int, ...]
    made: str
    """The solver, or how else the weights came about."""
    depth: int | None
    """Layers edited, counted from the output; None if not edited."""
    layers: int
    alphas: tuple[float, float] | None
    calibration: float | None
    """Largest accuracy of a forgotten class on calibration images, as the search saw it."""
    worst: float
    """Largest accuracy of a forgotten class."""
    drop: float
    """Mean accuracy that the other classes lost, against the registered weights."""
    probe: float
    """Mean accuracy of a linear probe on the forgotten classes."""
    holds: bool | None
    """Whether both bars are kept; None for weights that are not an edit."""


@dataclass(frozen=True)
class Figures:
    """What is measured of weights."""

    worst: float
    drop: float
    probe: float


@dataclass
class Subject:
    """A registered network and the images it is measured on.

    Args:
        name: As the table calls it.
        bench: Lays the model out.
        train: Preprocessed images (n, channels, height, width) and labels (n,) that the probe learns from.
        test: Likewise; everything is measured on them.
        most_forgotten: Largest accuracy that a forgotten class may keep.
    """

    name: str
    bench: Workbench
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    most_forgotten: float

    @cached_property
    def registered(self) -> Tensor:
        """Test accuracy of every class under the registered weights, float64 (classes,)."""
        return self.accuracies(self.bench.anchor_state)

    def accuracies(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return the test accuracy of every class under some weights, float64 (classes,)."""
        images, labels = self.test
        batches = torch.split(images, BATCH)
        return class_accuracies(self.bench.network, state, batches, labels, len(self.bench.model.labels))

    def measure(self, state: Mapping[str, Tensor], forgotten: Sequence[int]) -> Figures:
        """Return what some weights do on forgotten and on other classes."""
        images, labels = self.test
        inside = torch.isin(torch.arange(len(self.registered)), torch.tensor(forgotten))
        asked = inside[labels]
        now = self.accuracies(state)
        # Laid out alike, so that features of layers that were not edited are the same to the last bit.
        weights = self.bench.network.prepare_weights(state)
        read = probe(self.bench.network.module, weights, self.train, (images[asked], labels[asked]))
        return Figures(
            worst=float(now[inside].max()),
            drop=float((self.registered - now)[~inside].mean()),
            probe=statistics.mean(read.values()),
        )

    def row(self, forgotten: tuple[int, ...], made: str, state: Mapping[str, Tensor]) -> Row:
        """Return the line of weights that are not an edit."""
        figures = asdict(self.measure(state, forgotten))
        return Row(self.name, forgotten, made, None, len(self.bench.network.layers), None, None, **figures, holds=None)

    def cells(self, forgotten: tuple[int, ...]) -> Iterator[Row]:
        """Yield the line of the registered weights, then one for every solver and depth; depths from all layers to one.

        Class spaces are collected once: they depend neither on the solver nor on the depth.
        """
        yield self.row(forgotten, "registered", self.bench.anchor_state)
        collected = list(ClassSpaceCache(self.bench).collect_and_store(frozenset(forgotten), Silent()))
        for solver in self.bench.model.settings.solvers:
            for depth in self.depths():
                yield self._cell(collected, forgotten, solver, depth)

    def depths(self) -> tuple[int, ...]:
        """Return the numbers of layers that the ledger's search would try, the largest first."""
        layers = [layer.maps for layer in self.bench.network.layers]
        # Only asked for depths, it needs no spaces.
        builder = CandidateBuilder(
            self.bench.anchor_state, layers, retain=lambda _: (), forget=lambda _: (), solvers={}
        )
        return builder.depths(self.bench.model.settings.depths)

    def _cell(
        self, collected: Sequence[CollectedSpace[NewClassSpace]], forgotten: tuple[int, ...], solver: str, depth: int
    ) -> Row:
        began = time.perf_counter()
        found = self._search(collected, forgotten, solver, depth)
        searched = time.perf_counter() - began
        figures = self.measure(found.candidate.state, forgotten)
        say(f"  searched in {searched:.0f} s, measured in {time.perf_counter() - began - searched:.0f} s")
        strength = found.candidate.recipe.strength
        return Row(
            self.name,
            forgotten,
            solver,
            depth,
            len(self.bench.network.layers),
            (strength.alpha_r, strength.alpha_f),
            max(judged.accuracy for judged in found.forgotten.values()),
            **asdict(figures),
            holds=figures.drop <= MOST_DROP + ROUNDING and figures.worst <= self.most_forgotten + ROUNDING,
        )

    def _search(
        self, collected: Sequence[CollectedSpace[NewClassSpace]], forgotten: tuple[int, ...], solver: str, depth: int
    ) -> SearchResult:
        """Return what the ledger's search chooses with one solver and at one depth."""
        settings = self.bench.model.settings
        only = replace(settings, solvers=(solver,), depths=(depth,), retained_bar=NO_BAR)
        # A copy shares network, images and weights, which these settings do not touch.
        bench = copy.copy(self.bench)
        bench.model = replace(bench.model, settings=only)
        return search(bench, collected, frozenset(forgotten), Silent())


def cifar(folder: Path, data: Path, models: Path) -> Iterator[Row]:
    """Yield the lines of CIFAR-10 and its VGG11-BN.

    Args:
        folder: A new one, for the ledger.
        data: The npz file of the images.
        models: The folder of the trained network.
    """
    registered = Cifar(folder, data, models, Settings())
    bench = registered.bench
    source, preprocessing = bench.source, bench.model.preprocessing

    def images(split: Split, each: int | None) -> tuple[Tensor, Tensor]:
        chosen = evaluation_samples(split.labels, each, digit_pairs.SEED)
        return load_images(split, chosen, preprocessing), torch.tensor(split.labels)[chosen]

    subject = Subject(
        "CIFAR-10", bench, images(source.train, PROBE_EACH), images(source.test, None), CIFAR_MOST_FORGOTTEN
    )
    for forgotten in CIFAR_FORGOTTEN:
        yield from subject.cells(forgotten)
    registered.ledger.close()


def pairs(folder: Path) -> Iterator[Row]:
    """Yield the lines of digit pairs, those of retrained networks included.

    Args:
        folder: An empty one, for weights and ledger.
    """
    trained = digit_pairs.Bench(folder)
    bench = open_workbench(trained.ledger, digit_pairs.MODEL)
    subject = Subject("digit pairs", bench, trained.train, trained.test, MOST_FORGOTTEN)
    drawn = [int(k) for k in np.random.default_rng(digit_pairs.SEED).permutation(digit_pairs.CLASSES)]
    for count in PAIRS_FORGOTTEN:
        forgotten = tuple(drawn[:count])
        retrained, _ = trained.train_network(Without(trained.source, frozenset(forgotten)))
        yield subject.row(forgotten, "retrained", retrained.state_dict())
        yield from subject.cells(forgotten)
    trained.ledger.close()


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = []
    for row in rows:
        cells = (
            row.data,
            str(len(row.forgotten)),
            row.made,
            "" if row.depth is None else f"{row.depth} of {row.layers}",
            f"{100 * row.drop:+.2f}",
            f"{100 * row.worst:.1f}",
            f"{100 * row.probe:.1f}",
            "" if row.holds is None else ("yes" if row.holds else "no"),
        )
        lines.append(cells)
    return markdown(HEADER, lines)


def main() -> None:
    """Measure every cell asked for."""
    parser = arguments(__doc__)
    parser.add_argument("--only", default="cifar,pairs", help="comma-separated data sets")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    wanted = options.only.split(",")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "cifar" in wanted:
            data = unpack(options.images, options.work or folder)
            rows += _told(cifar(folder / "cifar", data, options.models))
        if "pairs" in wanted:
            (folder / "pairs").mkdir()
            rows += _told(pairs(folder / "pairs"))
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _told(rows: Iterator[Row]) -> Iterator[Row]:
    """Pass rows on, saying each as soon as it is there."""
    for row in rows:
        say(table([row]).splitlines()[-1])
        yield row


if __name__ == "__main__":
    main()
