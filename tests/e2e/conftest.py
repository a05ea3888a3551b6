"""Ledgers made by commands, prepared once and copied for each test."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ledger.weights import tensor_files
from tests.ledgers.command_line import Cli
from tests.ledgers.rows import AWKWARD, ROWS_FACTORY, Rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures.trained_digits import TrainedDigits


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory, trained_digits: TrainedDigits) -> Path:
    """A ledger made by commands, with the digits network in it."""
    root = tmp_path_factory.mktemp("prepared") / "ledger"
    cli = Cli(root)
    cli("init", str(root))
    cli("model", "add", "digits", *trained_digits.options, *trained_digits.set_options)
    return root


@pytest.fixture(scope="session")
def _prepared_forgotten(tmp_path_factory: pytest.TempPathFactory, _prepared: Path) -> Path:
    """The same after two requests: version 1 has forgotten 3, version 2 also 7."""
    root = tmp_path_factory.mktemp("prepared-forgotten") / "ledger"
    shutil.copytree(_prepared, root)
    cli = Cli(root)
    for digit in ("3", "7"):
        cli("forget", "digits", "-c", digit, "--wait")
    return root


@pytest.fixture
def cli(tmp_path: Path, _prepared: Path) -> Cli:
    """A ledger with the digits network registered."""
    shutil.copytree(_prepared, tmp_path / "ledger")
    return Cli(tmp_path / "ledger")


@pytest.fixture
def forgotten(tmp_path: Path, _prepared_forgotten: Path) -> Cli:
    """A ledger where request 1 made version 1 forget 3, and request 2 made version 2 forget 7 as well."""
    shutil.copytree(_prepared_forgotten, tmp_path / "ledger")
    return Cli(tmp_path / "ledger")


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """A toy model whose labels are a trap: the first is the index of the second, another one looks like markup."""
    made = Rows(tmp_path / "rows", ("1", "dog", "cat", "[/fox]\\", "eel"))
    made.folder.mkdir()
    (made.folder / "rows.py").write_text(ROWS_FACTORY)
    made.weights.write_bytes(tensor_files.serialise(made.state()))
    np.savez(made.folder / "rows.npz", labels=np.array(made.labels), **made.arrays())  # type: ignore[arg-type]
    return made


@pytest.fixture
def empty(tmp_path: Path) -> Cli:
    """A ledger without any model."""
    made = Cli(tmp_path / "ledger")
    made("init", str(made.root))
    return made


@pytest.fixture
def pets(empty: Cli, rows: Rows) -> Cli:
    """A ledger with the toy model registered as ``pets``."""
    empty("model", "add", "pets", *rows.options())
    return empty


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A ledger in a folder with a space, and a toy model with awkward labels; tests share it."""
    folder = tmp_path_factory.mktemp("odd")
    made = Rows(folder / "rows", AWKWARD)
    made.folder.mkdir()
    (made.folder / "rows.py").write_text(ROWS_FACTORY)
    made.weights.write_bytes(tensor_files.serialise(made.state()))
    np.savez(made.folder / "rows.npz", labels=np.array(made.labels), **made.arrays())  # type: ignore[arg-type]
    shared = Cli(folder / "my ledger")
    shared("init", str(shared.root))
    shared("model", "add", "pets", *made.options())
    return shared
