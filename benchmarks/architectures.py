"""A vision transformer, a ConvNeXt and an EfficientNet forget digits: one, then two more.

    python benchmarks/architectures.py [--only vit,convnext,efficientnet] [--seeds 0,1,2] [--cells] [--json FILE]

Trains small timm networks on scikit-learn's digits, registers them with all default settings, and has them forget 3,
then 5 and 8, as requests. Everything is measured on test images. With ``--cells`` also every solver at every depth, as
``solvers.py`` does for other networks, with what a linear probe still reads from the features.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import solvers
import torch
from digit_pairs import CHOSEN, ROUNDING, say
from tables import markdown

from ledger.config import create_config
from ledger.domain.models import Architecture
from ledger.domain.requests import NewRequest
from ledger.domain.settings import Preprocessing, Settings
from ledger.images.loading import load_images
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.progress import Silent
from ledger.service.requests.filing import enqueue
from ledger.service.requests.worker import work
from ledger.testing.training import train_classifier
from ledger.weights import tensor_files

MODEL, SIZE, CLASSES = "digits", 32, 10
PREPROCESSING = Preprocessing(channels=1, height=SIZE, width=SIZE, mean=(0.3,), std=(0.35,))
REQUESTS = ((3,), (5, 8))
MOST_FORGOTTEN, MOST_DROP = 0.01, 0.02
"""The demonstration's bars."""
COLUMNS = ("network", "seed", "test accuracy %", "forgotten", "worst forgotten %", "retained drop", "seconds", "chosen")


@dataclass(frozen=True)
class Network:
    """A small timm network and how long it is trained."""

    arch: str
    epochs: int
    options: Mapping[str, Any]


NETWORKS = {
    # A patch is 2 x 2 pixels of the scan.
    "vit": Network(
        "vit_tiny_patch16_224",
        20,
        {"img_size": SIZE, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4, "weight_init": "moco"},
    ),
    "convnext": Network("test_convnext", 16, {}),
    "efficientnet": Network("test_efficientnet", 28, {}),
}


@dataclass(frozen=True)
class Row:
    """What one request did."""

    network: str
    seed: int
    accuracy: float
    """Of the registered weights, on all test images."""
    forgotten: tuple[int, ...]
    """Every class asked for so far."""
    known: float
    """Smallest accuracy of any of them under the registered weights."""
    worst: float
    """Largest accuracy of any of them now."""
    drop: float
    """Mean accuracy that the other classes lost."""
    seconds: float
    chosen: str
    """Solver, depth and strengths, or why there is no version."""
    met: bool


class Subject(solvers.Subject):
    """A trained network in a ledger of its own.

    Args:
        folder: An empty one.
        name: One of :data:`NETWORKS`.
        seed: Of initial weights and training.
    """

    def __init__(self, folder: Path, name: str, seed: int) -> None:
        self.seed = seed
        self.ledger: Ledger = create_ledger(create_config(folder / "ledger", "sqlite:///ledger.db", "objects"), "bench")
        self.accuracy = _register(self.ledger, folder / "weights.safetensors", NETWORKS[name], seed)
        bench = open_workbench(self.ledger, MODEL)
        train, test = (
            (load_images(split, range(len(split.labels)), PREPROCESSING), torch.tensor(split.labels))
            for split in (bench.source.train, bench.source.test)
        )
        super().__init__(name, bench, train, test, MOST_FORGOTTEN)

    def story(self) -> Iterator[Row]:
        """File the requests one after the other, and yield what each did."""
        forgotten: tuple[int, ...] = ()
        for asked in REQUESTS:
            forgotten += asked
            enqueue(self.ledger, MODEL, [NewRequest(frozenset(asked), "bench")])
            began = time.perf_counter()
            [outcome] = work(self.ledger, Silent())
            seconds = time.perf_counter() - began
            state, recipe = _live(self.bench)
            now = self.accuracies(state)
            inside = torch.isin(torch.arange(CLASSES), torch.tensor(forgotten))
            worst = float(now[inside].max())
            drop = float((self.registered - now)[~inside].mean())
            yield Row(
                *(self.name, self.seed, self.accuracy, forgotten, float(self.registered[inside].min()), worst, drop),
                seconds,
                outcome.error.message if outcome.error else _chosen(recipe),
                met=outcome.error is None and worst <= MOST_FORGOTTEN and drop <= MOST_DROP + ROUNDING,
            )


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    return markdown(
        COLUMNS,
        [
            (
                *(row.network, str(row.seed), f"{100 * row.accuracy:.1f}", ", ".join(map(str, row.forgotten))),
                *(f"{100 * row.worst:.1f}", f"{100 * row.drop:+.2f}", f"{row.seconds:.1f}", row.chosen),
            )
            for row in rows
        ],
    )


def _register(ledger: Ledger, weights: Path, network: Network, seed: int) -> float:
    """Train a network and register it; return its test accuracy."""
    architecture = Architecture(f"timm/{network.arch}", {"in_chans": 1, **network.options})
    torch.manual_seed(seed)
    module = ledger.plugins.load_model(architecture.spec, architecture.options, CLASSES).module
    source = ledger.plugins.data_source("digits")
    began = time.perf_counter()
    accuracy = train_classifier(module, source, PREPROCESSING, seed=seed, epochs=network.epochs)
    say(f"{network.arch}, seed {seed}: {accuracy:.2%} test accuracy after {time.perf_counter() - began:.0f} s")
    weights.write_bytes(tensor_files.serialise(module.state_dict()))
    register(
        ledger,
        Registration(
            name=MODEL,
            architecture=architecture,
            weights=weights,
            data_spec="digits",
            labels=None,
            preprocessing=vars(PREPROCESSING),
            settings=Settings(),
        ),
    )
    return accuracy


def _live(bench: Workbench) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with bench.ledger.database.read() as tx:
        live = tx.versions.live(bench.model)
    return bench.weights(live), live.recipe.document


def _chosen(recipe: Mapping[str, Any]) -> str:
    solver, depth, alpha_r, alpha_f = (recipe[key] for key in CHOSEN)
    return f"{solver}, {depth} layers, ({alpha_r:g}, {alpha_f:g})"


def main() -> int:
    """Run the stories; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(NETWORKS), help="comma-separated networks")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--cells", action="store_true", help="also every solver at every depth, for the first seed")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    rows: list[Row] = []
    cells: list[solvers.Row] = []
    seeds = [int(text) for text in options.seeds.split(",")]
    for name in options.only.split(","):
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                subject = Subject(Path(folder), name, seed)
                for row in subject.story():
                    say(table([row]).splitlines()[-1])
                    rows.append(row)
                if options.cells and seed == seeds[0]:
                    for forgotten in (REQUESTS[0], sum(REQUESTS, ())):
                        cells += subject.cells(forgotten)
                subject.ledger.close()
    print(table(rows))
    if cells:
        print("\n" + solvers.table(cells))
    if options.json:
        figures = {"requests": [asdict(row) for row in rows], "cells": [asdict(cell) for cell in cells]}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main())
