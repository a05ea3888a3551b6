"""Ledgers to work on, prepared once and copied for each test."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.ledgers.desk import MODEL, Desk
from tests.ledgers.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fixtures.trained_digits import TrainedDigits


@pytest.fixture(scope="session")
def _registered(tmp_path_factory: pytest.TempPathFactory, trained_digits: TrainedDigits) -> Path:
    """A ledger with the digits network in it, from which each test starts."""
    root = tmp_path_factory.mktemp("registered")
    desk = Desk.create(root, trained_digits)
    desk.register(MODEL)
    desk.close()
    return root


@pytest.fixture(scope="session")
def _two_forgotten(tmp_path_factory: pytest.TempPathFactory, _registered: Path, trained_digits: TrainedDigits) -> Path:
    """The same after two requests were carried out: version 1 has forgotten 3, version 2 also 7."""
    root = tmp_path_factory.mktemp("forgotten") / "ledger"
    shutil.copytree(_registered, root)
    desk = Desk(root, trained_digits)
    for digit in (3, 7):
        desk.forget(digit)
    desk.close()
    return root


@pytest.fixture
def open_desk(tmp_path: Path, trained_digits: TrainedDigits) -> Iterator[Callable[[Path], Desk]]:
    """Copy a prepared folder and open the ledger in it."""
    desks: list[Desk] = []

    def build(prepared: Path) -> Desk:
        root = tmp_path / f"ledger{len(desks)}"
        shutil.copytree(prepared, root)
        desks.append(Desk(root, trained_digits))
        return desks[-1]

    yield build
    for desk in desks:
        desk.close()


@pytest.fixture
def desk(open_desk: Callable[[Path], Desk], _registered: Path) -> Desk:
    """A desk with the digits network registered and nothing asked of it."""
    return open_desk(_registered)


@pytest.fixture
def second_desk(open_desk: Callable[[Path], Desk], _registered: Path) -> Desk:
    """Another one, to compare with: nothing that happens at the first is seen here."""
    return open_desk(_registered)


@pytest.fixture
def two_forgotten(open_desk: Callable[[Path], Desk], _two_forgotten: Path) -> Desk:
    """A desk where request 1 made version 1 forget 3, and request 2 made version 2 forget 7 as well."""
    return open_desk(_two_forgotten)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def shelf(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shelf]:
    """A small ledger, once for each kind of database."""
    url = "sqlite:///ledger.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    shelf = Shelf(tmp_path / "ledger", url)
    yield shelf
    shelf.close()
