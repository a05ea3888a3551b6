"""Ledgers filled by hand, one of them with a past, copied for each test."""

import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from ledger.config import create_config, find_config
from ledger.service.ledger import create_ledger, open_ledger
from tests.ledgers.sample import LABELS, START, NewSample, Sample


def _open(folder: Path, at: datetime) -> Sample:
    now = [at]
    return Sample(open_ledger(find_config(folder), "ada", clock=lambda: now[0]), now)


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger without models: copying it is quicker than creating a schema for each test."""
    folder = tmp_path_factory.mktemp("empty") / "ledger"
    create_ledger(create_config(folder, "sqlite:///ledger.db", "objects"), "ada", clock=lambda: START).close()
    return folder


@pytest.fixture(scope="session")
def past_folder(empty_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, datetime]:
    """A ledger with a small model: two requests, one of them reopened by a rollback, and one that waits."""
    folder = tmp_path_factory.mktemp("past") / "ledger"
    shutil.copytree(empty_folder, folder)
    built = _open(folder, START)
    built.register(LABELS)
    built.measure(built.forget(0))
    built.later()
    built.measure(built.forget(2, 4))
    built.later()
    built.roll_back(1, "the owls <b>complained</b>")
    built.later()
    built.file(5)
    built.ledger.close()
    return folder, built.now[0]


@pytest.fixture
def new_sample(empty_folder: Path, tmp_path: Path) -> Iterator[NewSample]:
    """Open a ledger with a model of some labels in it."""
    opened: list[Sample] = []

    def build(labels: Sequence[str] = LABELS) -> Sample:
        folder = tmp_path / f"ledger{len(opened)}"
        shutil.copytree(empty_folder, folder)
        opened.append(_open(folder, START))
        opened[-1].register(labels)
        return opened[-1]

    yield build
    for sample in opened:
        sample.ledger.close()


@pytest.fixture
def sample(past_folder: tuple[Path, datetime], tmp_path: Path) -> Iterator[Sample]:
    """A model with a past, of one's own to alter."""
    folder = tmp_path / "ledger"
    shutil.copytree(past_folder[0], folder)
    opened = _open(folder, past_folder[1])
    yield opened
    opened.ledger.close()
