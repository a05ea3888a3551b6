"""Folders that are closed to the account that runs a command: a sentence and an exit code, wherever they are named."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ledger.config import find_config, plan_config, write_config
from ledger.durable_files import ownership_hint
from ledger.service.upkeep.places import check_permissions
from tests.ledgers.command_line import Cli

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root reaches every folder, so root becomes somebody else meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that nobody may look into, in one that everybody may."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    inner = folder / "closed"
    inner.mkdir(mode=0o000)
    yield inner
    inner.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("weights", "convert", "CLOSED/in/weights.pt", "-o", "CLOSED/in/weights.safetensors"),
        ("weights", "convert", "weights.pt", "-o", "CLOSED/weights.safetensors"),
        ("weights", "inspect", "CLOSED/in/weights.pt"),
        ("init", "CLOSED/in/ledger"),
        ("restore", "CLOSED/in/backup", "CLOSED/in/ledger"),
    ],
    ids=" ".join,
)
def test_a_closed_folder_ends_a_command_with_a_sentence(closed: Path, command: tuple[str, ...]) -> None:
    arguments = [part.replace("CLOSED", str(closed)) for part in command]
    # Root's Python may be closed to others: whatever the command imports is imported first.
    Cli(closed / "in")(*arguments, code=None)
    with as_somebody_else():
        answer = Cli(closed / "in")(*arguments, code=None)
    assert answer.code in {1, 2, 3}
    assert "error" in answer.err.lower()


def test_a_closed_folder_is_named_with_its_owner(closed: Path) -> None:
    Cli(closed / "in")("status", code=None)
    with as_somebody_else():
        answer = Cli(closed / "in")("status", code=1)
        assert ownership_hint(closed / "keys" / "signing.key") == ownership_hint(closed)
    assert f"error: this account has no access to {closed / 'in'}" in answer.err
    assert str(closed) in answer.err.partition("hint: ")[2]


def test_the_permissions_of_a_closed_keys_folder_are_not_looked_into(closed: Path) -> None:
    root = closed.parent / "ledger"
    write_config(plan_config(root, "sqlite:///ledger.db", "objects", threads=1))
    config = find_config(root)
    check_permissions(config)
    closed.rename(root / "keys")
    try:
        with as_somebody_else():
            assert "one account alone" in check_permissions(config)
    finally:
        (root / "keys").rename(closed)
