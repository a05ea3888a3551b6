"""What tests of benchmark scripts share: the scripts, and a small network that knows its digits."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ledger.domain.models import Architecture
from ledger.domain.settings import Preprocessing
from ledger.service.computation.workbench import Workbench, open_workbench
from tests.ledgers.desk import MODEL, Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ledger.domain.settings import Settings
    from tests.fixtures.trained_digits import TrainedDigits


@pytest.fixture(scope="session")
def script() -> Iterator[Callable[[str], Any]]:
    """Return a benchmark script by its name; scripts import their neighbours."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    yield import_module
    sys.path.remove(folder)


NETWORK = '''\
"""A small network for digits that normalises batches."""

from torch import nn


def build(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=4),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, num_classes),
    )
'''


@pytest.fixture(scope="session")
def shelf(script: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A shelf of small networks of the digits; those of all, and without 3, are trained on first use."""
    references, courses = script("references"), script("training_course")
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "normalising_network.py").write_text(NETWORK)
    reference = references.Reference(
        "small",
        Architecture(f"{folder / 'normalising_network.py'}:build", {}),
        "digits",
        Preprocessing(channels=1, height=32, width=32, mean=(0.3,), std=(0.35,)),
        courses.demonstration(5),
    )
    torch.set_num_threads(1)
    return references.Shelf(folder / "networks", reference)


@pytest.fixture(scope="module")
def open_bench(
    trained_digits: TrainedDigits, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Settings], Workbench]]:
    """Return a way to lay the digits' network out in a fresh ledger, under some settings."""
    desks: list[Desk] = []

    def open_one(settings: Settings) -> Workbench:
        root = tmp_path_factory.mktemp("bench") / "ledger"
        desk = Desk.create(root, trained_digits)
        desks.append(desk)
        desk.register(MODEL, settings)
        return open_workbench(desk.ledger, MODEL)

    yield open_one
    for desk in desks:
        desk.close()
