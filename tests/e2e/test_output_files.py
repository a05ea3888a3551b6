"""No option that names an output destroys a file that a ledger needs, follows a link, or replaces a file unasked."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from ledger.cli.main import app

from ledger.errors import RefusedError
from tests.ledgers.command_line import Cli
from tests.ledgers.shelf import Shelf

OUTPUTS = {
    "report": ("report", "shelf", "-o"),
    "preview": ("preview", "shelf", "-c", "cars", "-o"),
    "audit checkpoint": ("audit", "checkpoint", "-o"),
    "audit proof": ("audit", "proof", "1", "-o"),
    "audit export": ("audit", "export", "-o"),
    "audit witness": ("audit", "witness"),
    "request export": ("request", "export", "-o"),
    "request calendar": ("request", "calendar", "-o"),
    "model export": ("model", "export", "shelf", "-o"),
    "certificate show": ("certificate", "show", "1", "-o"),
    "certificate issue": ("certificate", "issue", "1", "-o"),
    "certificate issue --openings": ("certificate", "issue", "1", "--openings"),
}
"""Every command that writes where a person says."""
WRITERS_OF_NEW_FILES = ("audit checkpoint", "audit proof", "audit export")
PLACES = (
    *("keys/signing.key", "keys/new", "keys/objects/new", "keys", "keys/objects", "objects", "objects/new"),
    *("ledger.db", "ledger.db-journal", "ledger.db-wal", "ledger.db-shm", "unledger.toml"),
)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A ledger with a model."""
    opened = Shelf(tmp_path / "ledger", "sqlite:///ledger.db")
    opened.ledger.database.close()
    yield opened
    opened.close()


def digests(root: Path) -> dict[str, str]:
    """Return the digest of every file of a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def commands(group: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name."""
    for name, command in getattr(group, "commands", {}).items():
        yield " ".join((*names, name)), command
        yield from commands(command, (*names, name))


def test_every_command_with_an_output_is_tried() -> None:
    with_output = {
        name for name, command in commands(typer.main.get_command(app)) if any("-o" in p.opts for p in command.params)
    }
    assert with_output == {name for name, arguments in OUTPUTS.items() if arguments[-1] == "-o"}


@pytest.mark.parametrize("command", OUTPUTS)
def test_what_belongs_to_the_ledger_is_never_written_to(shelf: Shelf, command: str) -> None:
    before = digests(shelf.root)
    forced = [] if command in ("audit witness", "model export") else ["--force"]
    # By its name, by a roundabout way, and through a link to the folder.
    (shelf.root.parent / "door").symlink_to(shelf.root)
    ways = (shelf.root, shelf.root / "objects" / "..", shelf.root.parent / "door")
    for number, place in enumerate(PLACES):
        answer = Cli(shelf.root)(*OUTPUTS[command], str(ways[number % 3] / place), *forced, code=7)
        assert isinstance(answer.error, RefusedError)
        assert "belongs to the ledger" in answer.err
    assert digests(shelf.root) == before


def test_another_ledgers_files_are_safe_as_well(shelf: Shelf, tmp_path: Path) -> None:
    other = Shelf(tmp_path / "other", "sqlite:///ledger.db")
    other.ledger.database.close()
    other.close()
    before = digests(other.root)
    for place in PLACES:
        Cli(shelf.root)("audit", "export", "-o", str(other.root / place), "--force", code=7)
    assert digests(other.root) == before


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_link_is_not_followed(shelf: Shelf, tmp_path: Path, command: str) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "folder").mkdir()
    for number, target in enumerate(("mine", "folder", "nowhere", "ledger/keys/signing.key")):
        link = tmp_path / f"link{number}"
        link.symlink_to(tmp_path / target)
        before = digests(tmp_path)
        answer = Cli(shelf.root)(*OUTPUTS[command], str(link), code=7)
        assert "symbolic link" in answer.err
        assert digests(tmp_path) == before
        assert link.is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_a_hard_link_to_the_ledger_is_not_written_through(shelf: Shelf, tmp_path: Path) -> None:
    os.link(shelf.root / "ledger.db", tmp_path / "alias")
    Cli(shelf.root)("audit", "export", "-o", str(tmp_path / "alias"), "--force", code=7)


@pytest.mark.parametrize("command", WRITERS_OF_NEW_FILES)
def test_a_folder_that_is_not_there_is_named(shelf: Shelf, tmp_path: Path, command: str) -> None:
    Cli(shelf.root)("audit", "checkpoint")
    folder = tmp_path / "my files"
    said = Cli(shelf.root)(*OUTPUTS[command], str(folder / "out"), code=1).err
    assert f"cannot write {folder}/out: there is no folder {folder}" in said
    assert f"mkdir -p '{folder}'" in said


@pytest.mark.parametrize("command", WRITERS_OF_NEW_FILES)
def test_a_file_that_is_there_is_replaced_with_force_only(shelf: Shelf, tmp_path: Path, command: str) -> None:
    Cli(shelf.root)("audit", "checkpoint")
    target = tmp_path / "out"
    target.write_text("mine")
    answer = Cli(shelf.root)(*OUTPUTS[command], str(target), code=1)
    assert "--force" in answer.err
    assert target.read_text() == "mine"
    Cli(shelf.root)(*OUTPUTS[command], str(target), "--force")
    assert target.read_text() != "mine"
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe"):
        answer = Cli(shelf.root)(*OUTPUTS[command], str(other), "--force", code=1)
        assert "cannot write" in answer.err
