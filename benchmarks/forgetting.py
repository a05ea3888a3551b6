"""What several benchmarks of one network's classes share: the network registered in a ledger, and edits of it.

The registered weights and the networks that never saw a class come from a folder of ``retrain.py``, or from files.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cifar import describe
from digit_pairs import say
from references import EACH, Shelf, add_arguments, chosen_reference, class_sets
from registered import Refused, Registered
from torch import Tensor

from ledger.domain.settings import Settings
from ledger.service.models.registration import Registration
from ledger.weights import tensor_files

MODEL = "reference"
DEFAULT = "default"
"""What a command line calls the solvers of the default settings."""


@dataclass(frozen=True)
class Edit:
    """Weights that have forgotten some classes, as the ledger made them."""

    forgotten: frozenset[int]
    solvers: str
    """As the command line names them."""
    seed: int
    """Of the samples."""
    how: str
    state: Mapping[str, Tensor]


@dataclass(frozen=True)
class Story:
    """What a command line asks for.

    Args:
        shelf: The kind of network, and the folder with those that never saw a class.
        registered: File of the weights that are registered.
        never_saw: Files of weights to compare with, instead of those in the folder.
        classes: Sets of classes, each forgotten alone.
        solvers: Which solvers compete, for each series of edits.
        seeds: Of the samples.
    """

    shelf: Shelf
    registered: Path
    never_saw: Sequence[Path]
    classes: list[frozenset[int]]
    solvers: list[str]
    seeds: list[int]
    refused: list[str] = field(default_factory=list)
    """What no weights came of, in words; filled by :meth:`edits`."""

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Story":
        """Return what a command line with :func:`arguments` asks for."""
        shelf = Shelf(options.folder, chosen_reference(options))
        classes = class_sets(options.classes, shelf.source.labels)
        registered = options.registered or shelf.stored(frozenset())[0].weights
        seeds = [int(text) for text in options.seeds.split(",")]
        if options.never_saw and len(classes) > 1:
            raise SystemExit("--never-saw is for one set of classes: name it with --classes")
        return cls(shelf, registered, options.never_saw, classes, options.solvers, seeds)

    def retrained(self, forgotten: frozenset[int]) -> list[dict[str, Tensor]]:
        """Return the weights of networks that never saw some classes, at least one."""
        if self.never_saw:
            return [read(path) for path in self.never_saw]
        return [stored.state() for stored in self.shelf.stored(forgotten)]

    def open(self, folder: Path, settings: Settings) -> Registered:
        """Register the network in a fresh ledger.

        Args:
            folder: A new one.
            settings: How to unlearn.
        """
        reference = self.shelf.reference
        return Registered(
            folder,
            Registration(
                name=MODEL,
                architecture=reference.architecture,
                weights=self.registered,
                data_spec=reference.data,
                labels=None,
                preprocessing=reference.preprocessing.to_json(),
                settings=settings,
            ),
        )

    def edits(self, folder: Path) -> Iterator[Edit]:
        """Forget every set of classes alone, by a request, with every choice of solvers and every seed.

        What is refused is noted, and the others go on.

        Args:
            folder: An empty one, for ledgers.
        """
        for solvers in self.solvers:
            for seed in self.seeds:
                bench = self.open(folder / f"{solvers}-{seed}", settings_of(solvers, seed))
                for forgotten in self.classes:
                    who = f"{self.names(forgotten)}, {solvers}, seed {seed}"
                    try:
                        version = bench.forget(forgotten)
                    except Refused as error:
                        self.refused.append(f"{who}: {error}")
                        say(self.refused[-1])
                        continue
                    say(f"{who}: {describe(version)}")
                    yield Edit(forgotten, solvers, seed, describe(version), bench.state(version))
                    bench.withdraw_last()
                bench.close()

    def names(self, forgotten: frozenset[int]) -> str:
        """Return the labels of some classes as one text."""
        return ", ".join(self.shelf.source.labels[k] for k in sorted(forgotten))


def settings_of(solvers: str, seed: int) -> Settings:
    """Return the default settings with some solvers and a seed.

    Args:
        solvers: Names joined by plus signs, or ``default``.
        seed: Of the samples.
    """
    return Settings(seed=seed) if solvers == DEFAULT else Settings(seed=seed, solvers=tuple(solvers.split("+")))


def read(weights: Path) -> dict[str, Tensor]:
    """Return the weights of a safetensors file, by name."""
    return tensor_files.parse(weights.read_bytes(), str(weights))


def arguments(documentation: str) -> argparse.ArgumentParser:
    """Return a parser of what these scripts are given.

    Args:
        documentation: The script's own; its first line becomes the description.
    """
    parser = argparse.ArgumentParser(description=documentation.splitlines()[0])
    parser.add_argument("folder", type=Path, help="networks kept by retrain.py")
    add_arguments(parser)
    parser.add_argument(
        "--classes", nargs="+", default=[EACH], help=f"labels joined by commas, or {EACH} for every class alone"
    )
    parser.add_argument(
        "--solvers", nargs="+", default=[DEFAULT], help=f"one series of edits for each: names joined by +, or {DEFAULT}"
    )
    parser.add_argument("--seeds", default="0,1,2", help="seeds of the samples, comma-separated")
    parser.add_argument("--registered", type=Path, help="weights to register; default: those of the folder, of all")
    parser.add_argument(
        "--never-saw", type=Path, nargs="+", help="weights that never saw the classes; default: those of the folder"
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser
