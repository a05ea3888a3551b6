"""What tests of benchmark scripts share: the scripts, and a small network that knows its digits."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ledger.config import create_config
from ledger.domain.models import Architecture
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.ledger import create_ledger
from ledger.service.models.registration import Registration, register

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
    opened: list[Workbench] = []

    def open_one(settings: Settings) -> Workbench:
        root = tmp_path_factory.mktemp("bench") / "ledger"
        ledger = create_ledger(create_config(root, "sqlite:///ledger.db", "objects"), "tester")
        register(
            ledger,
            Registration(
                name="digits",
                architecture=Architecture(trained_digits.architecture, {}),
                weights=trained_digits.weights,
                data_spec="digits",
                labels=None,
                preprocessing=vars(trained_digits.preprocessing),
                settings=settings,
            ),
        )
        opened.append(open_workbench(ledger, "digits"))
        return opened[-1]

    yield open_one
    for bench in opened:
        bench.ledger.close()
