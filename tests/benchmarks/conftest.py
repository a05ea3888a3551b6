"""What tests of benchmark scripts share: the scripts, and a small network that knows its digits."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

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
