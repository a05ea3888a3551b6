"""The snapshot of the verified log: it saves time, hides nothing, and cannot be forged with the database alone."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ledger.audit.events import AuditEvent
from ledger.audit.signed_notes import open_checkpoint
from ledger.audit.verification import ExternalRecord
from ledger.config import find_config
from ledger.domain.events.ledgers import ObjectDestroyed
from ledger.errors import AuditError, OlderDatabaseError
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.backups.key_copies import read_other_keys
from ledger.service.ledger import Ledger, open_ledger
from ledger.service.sealed_snapshot import FILE, SealedSnapshot
from ledger.service.signing import load_signer
from ledger.store.replay import snapshot as snapshots
from ledger.store.replay.replayed import Replayed
from ledger.store.replay.trusted_state import TrustedState
from tests.faults import tamper
from tests.faults.intruder import Intruder
from tests.faults.story import Story
from tests.ledgers.shelf import Shelf

ENTRIES = {kind: act for kind, act in {**tamper.SHOWN, **tamper.HIDDEN}.items() if kind not in tamper.KEYED}


def rows(ledger: Ledger) -> dict[str, Any]:
    """Return what a newly opened ledger takes the log to amount to."""
    with ledger.database.read() as tx:
        tx.trusted.catch_up()
        found = asdict(tx.trusted._state.replayed)
    return {**found, "rows": {table: dict(of) for table, of in found["rows"].items()}}


def opened(root: Path) -> Ledger:
    return open_ledger(find_config(root), "somebody")


def said(root: Path) -> str | dict[str, Any]:
    """Return what a new process finds: the rows, or what it says is wrong."""
    ledger = opened(root)
    try:
        return rows(ledger)
    except AuditError as error:
        return f"{error.seq}: {error.message}"
    finally:
        ledger.close()


@pytest.fixture(scope="module")
def _grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a snapshot, and a few entries and a checkpoint behind it."""
    story = Story(tmp_path_factory.mktemp("grown") / "ledger", random.Random(3))
    story.file()
    story.live(12)
    story.checkpoint()
    story.chat(300)
    story.ledger.database.catch_up()
    story.live(3)
    story.checkpoint()
    story.close()
    return story.root


@pytest.fixture
def grown(_grown: Path, tmp_path: Path) -> Path:
    root = tmp_path / "ledger"
    shutil.copytree(_grown, root)
    return root


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the entries that are taken into account one by one."""
    numbers: list[int] = []
    apply = Replayed.apply

    def count(self: Replayed, entry: AuditEvent) -> None:
        numbers.append(entry.seq)
        apply(self, entry)

    monkeypatch.setattr(Replayed, "apply", count)
    return numbers


def test_the_next_process_goes_on_behind_it_and_finds_the_same(grown: Path, applied: list[int]) -> None:
    resumed = said(grown)
    assert 0 < len(applied) < 60
    assert min(applied) > 300
    applied.clear()
    (grown / "keys" / FILE).unlink()
    assert said(grown) == resumed
    assert applied[0] == 1


@pytest.mark.parametrize("kind", ENTRIES)
def test_every_tampering_is_found_as_without_it(grown: Path, kind: str) -> None:
    intruder = Intruder(grown / "ledger.db", random.Random(kind))
    ENTRIES[kind](intruder)
    intruder.close()
    found = said(grown)
    (grown / "keys" / FILE).unlink()
    assert said(grown) == found


@pytest.mark.parametrize("seq", [1, 299])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_events SET leaf = leaf || ' ' WHERE seq = ?",
        "UPDATE audit_events SET leaf = CAST(leaf AS BLOB) || x'20' WHERE seq = ?",
        "UPDATE audit_events SET digest = upper(digest) WHERE seq = ?",
        "UPDATE audit_events SET digest = '' WHERE seq = ?",
        # Whoever asks for entries of a kind, a model or a request would miss it.
        "UPDATE audit_events SET kind = 'another' WHERE seq = ?",
        "UPDATE audit_events SET model = 'another' WHERE seq = ?",
        "UPDATE audit_events SET request_id = 77 WHERE seq = ?",
        "UPDATE audit_events SET seq = -seq WHERE seq = ?",
        "UPDATE audit_events SET seq = seq + 100000 WHERE seq = ?",
        # The text of two entries in one: line for line, the log still reads the same.
        """UPDATE audit_events SET leaf = (SELECT group_concat(leaf || char(10) || digest, char(10))
        FROM audit_events AS a WHERE a.seq BETWEEN audit_events.seq AND audit_events.seq + 1) WHERE seq = ?""",
    ],
)
def test_one_changed_byte_among_old_entries_is_enough(grown: Path, change: str, seq: int) -> None:
    intruder = Intruder(grown / "ledger.db", random.Random(0))
    intruder.sql.execute(change, (seq,))
    intruder.close()
    assert isinstance(said(grown), str)
    (grown / "keys" / FILE).unlink()
    assert isinstance(said(grown), str)


@pytest.mark.parametrize("place", [0, 31, 32, 100, -1, "cut", "empty", "longer"])
def test_one_that_was_altered_is_put_aside(grown: Path, applied: list[int], place: int | str) -> None:
    honest, file = said(grown), grown / "keys" / FILE
    content = bytearray(file.read_bytes())
    match place:
        case "cut":
            del content[-100:]
        case "empty":
            content.clear()
        case "longer":
            content += b"x"
        case int():
            content[place] ^= 1
    file.write_bytes(content)
    applied.clear()
    assert said(grown) == honest
    assert applied[0] == 1
    applied.clear()
    # Once the log was read from its start, there is a new one.
    assert said(grown) == honest
    assert applied == []


@pytest.mark.parametrize("make", ["folder", "pipe", "link", "unreadable"])
def test_anything_else_of_its_name_does_no_harm(grown: Path, make: str) -> None:
    honest, file = said(grown), grown / "keys" / FILE
    content = file.read_bytes()
    file.unlink()
    match make:
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file, 0o600)
        case "link":
            file.symlink_to("/dev/zero")
        case _:
            file.write_bytes(content)
            file.chmod(0)
    assert said(grown) == honest


def test_an_older_one_that_is_put_back_tells_no_lie(grown: Path, applied: list[int]) -> None:
    old = (grown / "keys" / FILE).read_bytes()
    story = Story(grown, random.Random(4))
    story.chat(300)
    story.ledger.database.catch_up()
    story.close()
    honest = said(grown)
    assert (grown / "keys" / FILE).read_bytes() != old
    (grown / "keys" / FILE).write_bytes(old)
    applied.clear()
    assert said(grown) == honest
    assert 300 <= len(applied) < 360


def test_one_of_a_longer_log_is_put_aside(
    _grown: Path,  # noqa: PT019 - its path matters
    grown: Path,
    applied: list[int],
) -> None:
    story = Story(grown, random.Random(5))
    story.chat(300)
    story.ledger.database.catch_up()
    story.close()
    # An old database comes back beside newer keys, whose checkpoint is set aside as the documentation says.
    shutil.copy(_grown / "ledger.db", grown / "ledger.db")
    applied.clear()
    assert said(grown) == said(_grown)
    assert applied[0] == 1


def test_one_of_another_release_is_put_aside(grown: Path, applied: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = said(grown)
    monkeypatch.setattr(snapshots, "program", lambda: "another")
    applied.clear()
    assert said(grown) == honest
    assert applied[0] == 1


def test_a_checkpoint_that_it_does_not_know_is_compared(grown: Path) -> None:
    """The log, snapshot included, is another than the one that was signed meanwhile."""
    intruder = Intruder(grown / "ledger.db", random.Random(6))
    intruder.rewrite(5, intruder.forge(5))
    intruder.relink(5)
    intruder.sql.execute("DELETE FROM checkpoints")
    intruder.close()
    memory = grown / "keys" / "checkpoint"
    kept = memory.read_bytes()
    memory.unlink()
    (grown / "keys" / FILE).unlink()
    # Nothing is kept: the rewritten log is believed, and a snapshot of it is made.
    assert isinstance(said(grown), dict)
    assert (grown / "keys" / FILE).exists()
    memory.write_bytes(kept)
    ledger = opened(grown)
    with pytest.raises(OlderDatabaseError, match="not those that were signed"):
        ledger.require_current()
    # Stored hashes that are those of the log that was signed, over the entries of another one.
    signed = open_checkpoint(kept.decode(), [load_signer(ledger.config).verifier])
    with ledger.database.read() as tx, pytest.raises(AuditError, match="rewritten"):
        TrustedState(lambda _log: ExternalRecord(checkpoints=(signed,)), SealedSnapshot(ledger.config)).catch_up(
            tx.audit
        )
    ledger.close()


def test_a_small_log_has_none(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "ledger", "sqlite:///ledger.db")
    shelf.ledger.database.catch_up()
    assert not (shelf.root / "keys" / FILE).exists()
    shelf.close()


def lengthen(shelf: Shelf) -> None:
    with shelf.ledger.database.write() as tx:
        for _ in range(300):
            tx.audit.append(ObjectDestroyed(object="0" * 64), at=shelf.now, actor="tester")


@pytest.fixture
def shelf(tmp_path: Path, database_url: str) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path / "ledger", "sqlite:///ledger.db" if database_url.startswith("sqlite") else database_url)
    yield shelf
    shelf.close()


def test_it_works_with_both_databases(shelf: Shelf, applied: list[int]) -> None:
    lengthen(shelf)
    honest = rows(shelf.open_again())
    file = shelf.ledger.config.keys_path / FILE
    assert file.stat().st_mode & 0o777 == 0o600
    issue_checkpoint(shelf.ledger)
    applied.clear()
    assert rows(shelf.open_again())["rows"] == honest["rows"]
    assert len(applied) <= 1
    assert file.name not in read_other_keys(file.parent)


def test_keys_that_cannot_be_written_are_no_error(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, applied: list[int]
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    lengthen(shelf)
    write: Callable[..., None] = refuse
    monkeypatch.setattr("ledger.service.sealed_snapshot.write_file", write)
    assert rows(shelf.open_again()) == rows(shelf.open_again())
    assert applied.count(1) == 2
