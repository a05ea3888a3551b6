"""The doctor writes to find out whether writing works, and says who can look into the ledger."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledger import durable_files
from ledger.config import find_config
from ledger.domain.events.ledgers import ObjectDestroyed
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.ledger import open_ledger
from ledger.service.upkeep.doctor import doctor
from tests.ledgers.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A ledger with a model."""
    before = os.umask(0o022)
    opened = Shelf(tmp_path / "ledger", "sqlite:///ledger.db")
    opened.ledger.database.close()
    yield opened
    opened.close()
    os.umask(before)


def failed(shelf: Shelf) -> dict[str, str]:
    """Return what the doctor finds wrong, with the details."""
    return {check.name: check.detail for check in doctor(find_config(shelf.root)) if not check.ok}


def test_a_new_ledger_belongs_to_one_account(shelf: Shelf) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shelf.root.iterdir()}
    assert modes["ledger.db"] == modes["ledger.db-journal"] == 0o600
    assert modes["keys"] == 0o700
    assert all(not path.stat().st_mode & 0o077 for path in (shelf.root / "keys").rglob("*"))
    assert failed(shelf) == {}


@pytest.mark.parametrize(
    ("name", "mode", "wanted"),
    [
        ("keys", 0o777, "700"),
        ("keys", 0o750, "700"),
        ("keys/objects", 0o755, "700"),
        ("keys/signing.key", 0o640, "600"),
        ("ledger.db", 0o644, "600"),
        ("ledger.db-journal", 0o660, "600"),
    ],
)
def test_what_others_can_reach_is_named_with_the_remedy(shelf: Shelf, name: str, mode: int, wanted: str) -> None:
    (shelf.root / name).chmod(mode)
    found = failed(shelf)
    assert set(found) == {"permissions"}
    assert f"chmod {wanted} {shelf.root / name}" in found["permissions"]
    command = found["permissions"].partition("(")[2].rstrip(")")
    subprocess.run(command, shell=True, check=True)
    assert failed(shelf) == {}


@pytest.mark.parametrize("place", ["keys", "objects", "."])
def test_a_folder_that_cannot_be_written_is_found_by_writing(
    shelf: Shelf, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, folder = durable_files.write_file, (shelf.root / place).resolve()

    def read_only(target: Path, *arguments: object, **options: object) -> None:
        if target.parent.resolve() == folder:
            raise OSError(30, "Read-only file system", str(target))
        write(target, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(durable_files, "write_file", read_only)
    found = failed(shelf)
    assert set(found) == {"writable"}
    assert "Read-only file system" in found["writable"]


@pytest.mark.parametrize("place", ["keys", "objects", "."])
def test_a_read_only_mount_is_found(shelf: Shelf, place: str, mounted: Callable[[Path], None]) -> None:
    mounted(shelf.root / place)
    assert set(failed(shelf)) == {"writable"}


@pytest.fixture
def mounted() -> Iterator[Callable[[Path], None]]:
    """Return a function that mounts a folder over itself, read-only, where this user may."""
    done: list[Path] = []

    def mount(folder: Path) -> None:
        program = shutil.which("mount")
        for options in (["--bind", str(folder), str(folder)], ["-o", "remount,ro,bind", str(folder)]):
            tried = program and subprocess.run([program, *options], capture_output=True, check=False)
            if not tried or tried.returncode != 0:
                pytest.skip("nothing can be mounted here")
            done.append(folder)

    yield mount
    for folder in done[:1]:
        subprocess.run(["umount", str(folder)], check=True)


def test_nothing_is_left_of_the_attempts(shelf: Shelf) -> None:
    before = sorted(shelf.root.rglob("*"))
    size = shelf.size()
    assert failed(shelf) == {}
    assert sorted(shelf.root.rglob("*")) == before
    assert shelf.size() == size


def test_an_older_database_and_a_place_out_of_reach_are_named(shelf: Shelf, tmp_path: Path) -> None:
    copy = shutil.copy(shelf.root / "ledger.db", tmp_path / "copy.db")
    ledger = open_ledger(find_config(shelf.root), "tester")
    with ledger.database.write() as tx:
        tx.audit.append(ObjectDestroyed(object="0" * 64), at=ledger.clock(), actor="tester")
    issue_checkpoint(ledger)
    ledger.close()
    assert failed(shelf) == {}
    shutil.copy(copy, shelf.root / "ledger.db")
    assert "unledger recover" in failed(shelf)["checkpoints"]
    (tmp_path / "file").write_text("")
    (shelf.root / "keys" / "checkpoint").unlink()
    with (shelf.root / "unledger.toml").open("a") as file:
        file.write(f'checkpoint_to = "{tmp_path / "file"}"\n')
    assert "cannot reach" in failed(shelf)["checkpoints"]
