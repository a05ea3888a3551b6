"""Backups: consistent, complete, without what was purged; restored whole and verified, or not at all."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from ledger.config import FILE, find_config
from ledger.errors import (
    ConflictError,
    IntegrityError,
    LedgerError,
    NotFoundError,
    ObjectError,
    RefusedError,
    RetryLaterError,
    SignatureError,
    UsageError,
)
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.backups import backup as backup_module
from ledger.service.backups.backup import BackupResult, back_up
from ledger.service.backups.restore import RestoreResult, restore
from ledger.service.ledger import open_ledger
from ledger.service.progress import Silent
from ledger.service.upkeep.fsck import fsck
from ledger.service.upkeep.purge import destroy_promised
from ledger.store.backups.place import LocalPlace
from ledger.store.objects.copies import copy_object
from tests.fixtures.databases import PostgresServer
from tests.ledgers.shelf import Shelf

QUIET = Silent()


@pytest.fixture
def shelf(database_url: str, tmp_path: Path) -> Iterator[Shelf]:
    """A ledger with three versions and two class spaces, once for each kind of database."""
    url = "sqlite:///ledger.db" if database_url.startswith("sqlite") else database_url
    opened = Shelf(tmp_path / "ledger", url)
    yield opened
    opened.close()


@pytest.fixture
def empty_database(shelf: Shelf, request: pytest.FixtureRequest) -> Iterator[Callable[[], str | None]]:
    """Return a function that finds an empty database of the same kind: None for a file in the restored folder."""
    borrowed: list[str] = []
    server: PostgresServer | None = None if shelf.file else request.getfixturevalue("postgres_server")

    def borrow() -> str | None:
        if server is None:
            return None
        borrowed.append(server.borrow_database())
        return borrowed[-1]

    yield borrow
    for url in borrowed:
        assert server is not None
        server.give_back(url)


def save(shelf: Shelf, **options: Any) -> BackupResult:
    """Back a shelf up, with its keys."""
    return back_up(shelf.ledger, str(shelf.root.parent / "backup"), QUIET, keys=shelf.root.parent / "keys", **options)


def bring_back(shelf: Shelf, database: str | None, name: str = "restored", **options: Any) -> RestoreResult:
    """Restore a shelf's backup beside it."""
    beside = shelf.root.parent
    said = {"keys": beside / "keys", "database": database, **options}
    return restore(str(beside / "backup"), beside / name, QUIET, **said)


def rows(folder: Path) -> dict[str, list[str]]:
    """Return every row of a ledger, of either kind of database, in one form."""
    from ledger.store.backups.rows import dump_rows

    ledger = open_ledger(find_config(folder), "tester")
    try:
        with ledger.database.engine.connect() as connection:
            lines = list(map(json.loads, dump_rows(connection, "x")))
    finally:
        ledger.close()
    found: dict[str, list[str]] = {}
    table = ""
    for line in lines[1:]:
        if isinstance(line, dict):
            table = line["table"]
            found[table] = []
        else:
            found[table].append(repr(line))
    return {name: sorted(inside) for name, inside in found.items()}


def test_a_restored_ledger_is_the_same_and_goes_on(shelf: Shelf, empty_database: Callable[[], str | None]) -> None:
    issue_checkpoint(shelf.ledger)
    done = save(shelf)
    assert (done.objects, done.copied, done.damaged, done.removed) == (4, 4, (), 0)
    found = bring_back(shelf, empty_database())
    assert (found.entries, found.head, found.objects, found.opened) == (done.entries, done.head, 4, True)
    folder = shelf.root.parent / "restored"
    assert rows(folder) == rows(shelf.root)
    ledger = open_ledger(find_config(folder), "somebody")
    result = fsck(ledger, QUIET, read_data=True)
    assert (result.sound, result.objects) == (True, 4)
    for digest in shelf.weights:
        assert ledger.objects.get(digest) == shelf.ledger.objects.get(digest)
    # Numbers of new rows go on after the restored ones, and the signer knows what was signed.
    issue_checkpoint(ledger)
    shelf.ledger.close()
    shelf.ledger = ledger
    shelf._opened.append(ledger)
    shelf.add_model("another")
    assert fsck(ledger, QUIET, read_data=True).sound
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("ledger.db")) == sorted(
        [FILE, "keys", "objects"]
    )
    assert [path.name for path in folder.parent.glob(".partial*")] == []


@pytest.mark.postgres
@pytest.mark.parametrize("there", ["sqlite", "postgresql"])
def test_a_backup_can_be_restored_into_the_other_kind_of_database(
    tmp_path: Path, postgres_url: str, there: str
) -> None:
    here, other = (postgres_url, None) if there == "sqlite" else ("sqlite:///ledger.db", postgres_url)
    shelf = Shelf(tmp_path / "ledger", here)
    issue_checkpoint(shelf.ledger)
    save(shelf)
    bring_back(shelf, other)
    assert rows(tmp_path / "restored") == rows(shelf.root)
    shelf.close()
    restored = open_ledger(find_config(tmp_path / "restored"), "tester")
    assert fsck(restored, QUIET, read_data=True).sound
    restored.close()


def test_a_second_backup_copies_only_what_is_new(shelf: Shelf, empty_database: Callable[[], str | None]) -> None:
    save(shelf)
    assert save(shelf).copied == 0
    shelf.add_model("another")
    done = save(shelf)
    assert (done.objects, done.copied) == (5, 1)
    backup = shelf.root.parent / "backup"
    assert len(list(backup.glob("database-*"))) == 1
    bring_back(shelf, empty_database())
    # An object of the backup that went bad is found when asked for, and copied again.
    [damaged, *_] = [path for path in (backup / "objects").rglob("*") if path.is_file()]
    damaged.chmod(0o600)
    damaged.write_bytes(bytes([damaged.read_bytes()[0] ^ 1]) + damaged.read_bytes()[1:])
    assert save(shelf).copied == 0
    with pytest.raises(ObjectError, match="not what was backed up"):
        bring_back(shelf, empty_database(), "damaged")
    assert save(shelf, read_data=True).copied == 1
    bring_back(shelf, empty_database(), "repaired")


def test_what_a_purge_destroyed_leaves_the_backup_and_the_copies_of_the_keys(
    shelf: Shelf, empty_database: Callable[[], str | None]
) -> None:
    save(shelf)
    victim = shelf.weights[1]
    beside = shelf.root.parent
    files = (beside / "backup" / "objects" / victim[:2] / victim[2:], beside / "keys" / "objects" / victim)
    key, old = shelf.key(victim).read_bytes()[:32], next((beside / "backup").glob("database-*"))
    assert all(path.is_file() for path in files)
    shelf.note_purged(1)
    assert victim in destroy_promised(shelf.ledger, QUIET)
    done = save(shelf)
    assert (done.removed, done.keys_destroyed) == (1, 1)
    assert not any(path.exists() for path in (*files, old))
    for folder in ("backup", "keys"):
        assert not [p for p in (beside / folder).rglob("*") if p.is_file() and key in p.read_bytes()]
    bring_back(shelf, empty_database())
    without = back_up(shelf.ledger, str(beside / "backup"), QUIET)
    assert (without.keys, without.keys_left_behind) == (None, True)


def test_an_object_stored_again_after_a_purge_is_copied_again(
    shelf: Shelf, empty_database: Callable[[], str | None]
) -> None:
    save(shelf)
    digest = shelf.weights[1]
    data = shelf.ledger.objects.get(digest)
    shelf.ledger.objects.destroy(digest)
    shelf.ledger.objects.put(data)  # under another key
    assert save(shelf).copied == 1
    bring_back(shelf, empty_database())


def test_keys_stay_out_of_the_backup(shelf: Shelf, empty_database: Callable[[], str | None]) -> None:
    keys = [path.read_bytes() for path in (shelf.root / "keys").rglob("*") if path.is_file()]
    secrets = [data[:32] for data in keys if not data.startswith(b"PRIVATE")] + [d[-40:] for d in keys]
    beside = shelf.root.parent
    back_up(shelf.ledger, str(beside / "backup"), QUIET)
    content = b"".join(path.read_bytes() for path in (beside / "backup").rglob("*") if path.is_file())
    assert not [secret for secret in secrets if secret in content]
    found = bring_back(shelf, empty_database(), keys=None)
    assert not found.opened
    assert not (beside / "restored" / "keys").exists()
    # The keys can be put back later.
    shutil.copytree(shelf.root / "keys", beside / "restored" / "keys")
    ledger = open_ledger(find_config(beside / "restored"), "tester")
    assert fsck(ledger, QUIET, read_data=True).sound
    ledger.close()


@pytest.mark.parametrize("place", ["keys", "keys/x", "objects", "objects/x", ".", ".."])
def test_a_backup_does_not_lie_in_the_ledger(shelf: Shelf, place: str) -> None:
    with pytest.raises((RefusedError, ConflictError)):
        back_up(shelf.ledger, str(shelf.root / place), QUIET)


@pytest.mark.parametrize("place", ["ledger/keys", "ledger/keys/x", "ledger", "backup", "backup/keys", "."])
def test_copies_of_keys_lie_apart(shelf: Shelf, place: str) -> None:
    beside = shelf.root.parent
    with pytest.raises(RefusedError):
        back_up(shelf.ledger, str(beside / "backup"), QUIET, keys=beside / place)
    assert not (beside / "backup" / "manifest.json").exists()


def test_a_backup_belongs_to_one_ledger(shelf: Shelf, tmp_path: Path) -> None:
    save(shelf)
    other = Shelf(tmp_path / "other", "sqlite:///ledger.db")
    with pytest.raises(ConflictError, match="not hold a backup of this ledger"):
        back_up(other.ledger, str(tmp_path / "backup"), QUIET)
    with pytest.raises(ConflictError, match="another ledger"):
        back_up(other.ledger, str(tmp_path / "elsewhere"), QUIET, keys=tmp_path / "keys")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    with pytest.raises(ConflictError, match=r"letter\.txt"):
        back_up(other.ledger, str(tmp_path / "mine"), QUIET)
    with LocalPlace(tmp_path / "backup").lock(), pytest.raises(RetryLaterError):
        save(shelf)
    other.close()


def test_a_ledger_that_does_not_verify_does_not_replace_its_backup(
    shelf: Shelf, empty_database: Callable[[], str | None]
) -> None:
    save(shelf)
    manifest = (shelf.root.parent / "backup" / "manifest.json").read_bytes()
    shelf.execute("UPDATE aliases SET version = 1")
    with pytest.raises(IntegrityError, match="contradict"):
        save(shelf)
    shelf.execute("UPDATE aliases SET version = 2")
    shelf.forge_history()
    with pytest.raises(IntegrityError):
        save(shelf)
    assert (shelf.root.parent / "backup" / "manifest.json").read_bytes() == manifest
    bring_back(shelf, empty_database())


def test_a_damaged_object_does_not_replace_a_good_copy(shelf: Shelf, empty_database: Callable[[], str | None]) -> None:
    save(shelf)
    shelf.cut(shelf.weights[1], 30)
    shelf.key(shelf.space).write_bytes(b"x" * 64)
    done = save(shelf, read_data=True)
    assert (sorted(done.damaged), done.missing) == (sorted([shelf.space]), ())
    bring_back(shelf, empty_database())
    # Where the backup never held it, it says so, and restoring what there is still works.
    shutil.rmtree(shelf.root.parent / "backup")
    done = back_up(shelf.ledger, str(shelf.root.parent / "backup"), QUIET)
    assert sorted(done.missing) == sorted([shelf.weights[1], shelf.space])
    found = bring_back(shelf, empty_database(), "partly", keys=None)
    assert sorted(found.missing) == sorted(done.missing)


@pytest.mark.parametrize("step", range(1, 12))
def test_a_backup_that_breaks_off_leaves_the_one_before(
    shelf: Shelf, empty_database: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    save(shelf)
    size = shelf.size()
    shelf.add_model("another")
    calls = iter(range(100))
    fsync = __import__("os").fsync

    def breaking(descriptor: int) -> None:
        if next(calls) == step:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", breaking)
        with suppress(LedgerError):
            size = save(shelf).entries
    found = bring_back(shelf, empty_database())
    assert found.entries in (size, shelf.size())
    assert save(shelf).entries == shelf.size()
    assert [path.name for path in (shelf.root.parent / "backup").glob(".partial*")] == []


# -- what is refused ---------------------------------------------------------------------------------


def test_a_restored_ledger_needs_a_new_place(shelf: Shelf, empty_database: Callable[[], str | None]) -> None:
    save(shelf)
    beside = shelf.root.parent
    (beside / "full").mkdir()
    (beside / "full" / "letter.txt").write_text("mine")
    for name in ("full", "full/letter.txt", "ledger"):
        with pytest.raises(ConflictError, match="not an empty folder"):
            bring_back(shelf, None, name)
    (beside / "link").symlink_to(beside / "full")
    with pytest.raises(ConflictError):
        bring_back(shelf, None, "link")
    with pytest.raises(NotFoundError, match="no finished backup"):
        restore(str(beside / "nowhere"), beside / "restored", QUIET)
    with pytest.raises(NotFoundError, match="no folder"):
        bring_back(shelf, None, keys=beside / "nowhere")
    with pytest.raises(UsageError):
        bring_back(shelf, None, key="nonsense")
    if not shelf.file:
        with pytest.raises(ConflictError, match="not empty"):
            bring_back(shelf, shelf.url)
        assert shelf.size() > 0
    assert not (beside / "restored").exists()
    (beside / "restored").mkdir()
    bring_back(shelf, empty_database())


def test_an_altered_backup_is_not_restored(shelf: Shelf, empty_database: Callable[[], str | None]) -> None:
    save(shelf)
    beside = shelf.root.parent
    good = beside / "good"
    (beside / "backup").rename(good)
    database = empty_database()
    for path in sorted(p.relative_to(good) for p in good.rglob("*") if p.is_file() and p.name != ".lock"):
        for change in ("cut", "flip", "remove"):
            shutil.rmtree(beside / "backup", ignore_errors=True)
            shutil.copytree(good, beside / "backup")
            victim = beside / "backup" / path
            victim.chmod(0o600)
            data = victim.read_bytes()
            middle = len(data) // 2
            if change == "remove":
                victim.unlink()
            else:
                victim.write_bytes(
                    data[:middle] + (b"" if change == "cut" else bytes([data[middle] ^ 1]) + data[middle + 1 :])
                )
            with pytest.raises(LedgerError) as caught:
                bring_back(shelf, database)
            assert caught.value.exit_code == (3 if path.name == "manifest.json" and change == "remove" else 5)
            assert not (beside / "restored").exists()
            assert list(beside.glob(".partial*")) == []
    shutil.rmtree(beside / "backup")
    good.rename(beside / "backup")
    bring_back(shelf, database)


def test_the_keys_must_be_those_of_the_backup(shelf: Shelf, empty_database: Callable[[], str | None]) -> None:
    save(shelf)
    beside, database = shelf.root.parent, empty_database()
    other = Shelf(beside / "other", "sqlite:///ledger.db")
    other.close()
    with pytest.raises(SignatureError, match="is signed by"):
        bring_back(shelf, database, keys=other.root / "keys")
    (beside / "keys" / "objects" / shelf.space).unlink()
    with pytest.raises(ObjectError, match=shelf.space):
        bring_back(shelf, database)
    assert not (beside / "restored").exists()
    bring_back(shelf, database, keys=shelf.root / "keys")


def test_settings_come_back_but_not_where_things_were(shelf: Shelf) -> None:
    with (shelf.root / FILE).open("a") as file:
        file.write('\n# Ours alone.\n[plugins]\nallow = ["one"]\n')
    shelf.ledger = shelf.open_again()
    save(shelf)
    if not shelf.file:
        return
    bring_back(shelf, None)
    text = (shelf.root.parent / "restored" / FILE).read_text()
    assert text == (shelf.root / FILE).read_text()


def test_a_purge_in_between_begins_everything_again(
    shelf: Shelf, empty_database: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, purges = copy_object, iter([True])

    def purged_meanwhile(*arguments: Any) -> Any:
        if next(purges, False):
            shelf.note_purged(1)
            destroy_promised(shelf.ledger, QUIET)
        return copy(*arguments)

    monkeypatch.setattr(backup_module, "copy_object", purged_meanwhile)
    done = save(shelf)
    assert (done.objects, done.damaged) == (3, ())
    assert not (shelf.root.parent / "backup" / "objects" / shelf.weights[1][:2] / shelf.weights[1][2:]).exists()
    bring_back(shelf, empty_database())


def test_nothing_of_deleted_rows_is_in_the_copy_of_the_database(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "ledger", "sqlite:///ledger.db")
    save(shelf)
    with closing(sqlite3.connect(next((tmp_path / "backup").glob("database-*")))) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
    shelf.close()
