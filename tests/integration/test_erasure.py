"""Erased rows are in no file of a SQLite database afterwards, its journal included."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger.errors import BusyError, ConflictError
from ledger.store.database import engine as engine_module
from ledger.store.database import erasure
from ledger.store.database.address import sqlite_url
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import upgrade_schema
from ledger.store.unit_of_work import Database

SALT = "f00dfeed" * 8
JOURNAL = "ledger.db-journal"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with secrets in it."""
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
    upgrade_schema(engine)
    opened = Database(engine)
    with engine.execution_options(**{engine_module.WRITER: True}).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE secrets (id INTEGER PRIMARY KEY, openings TEXT)")
        for number in range(20):
            connection.exec_driver_sql("INSERT INTO secrets VALUES (?, ?)", (number, f"{SALT} {number}"))
    yield opened
    opened.close()


def holders(folder: Path) -> list[str]:
    """Return the files that hold the erased bytes."""
    return [path.name for path in sorted(folder.iterdir()) if SALT.encode() in path.read_bytes()]


def erase(database: Database) -> None:
    """Erase every secret."""
    with database.erase() as tx:
        tx.audit._session.execute(text("UPDATE secrets SET openings = NULL"))


def test_no_file_holds_what_was_erased(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert holders(tmp_path) == ["ledger.db"]
    seen: list[list[str]] = []
    overwrite = erasure.overwrite_journal

    def watched(journal: Path) -> None:
        seen.append(holders(tmp_path))
        overwrite(journal)

    monkeypatch.setattr(erasure, "overwrite_journal", watched)
    erase(database)
    # It was in the journal, whose blocks a plain commit would have freed as they are.
    assert seen == [["ledger.db-journal"]]
    assert holders(tmp_path) == []
    assert (tmp_path / "ledger.db-journal").stat().st_size == 0


def test_the_journal_is_overwritten_before_it_is_cut(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _descriptor: contents.append((tmp_path / JOURNAL).read_bytes()))
    contents: list[bytes] = []
    erase(database)
    overwritten, cut = contents
    assert len(overwritten) > 1000
    assert not any(overwritten)
    assert cut == b""


def test_others_go_on_afterwards_with_their_own_settings(database: Database, tmp_path: Path) -> None:
    other = Database(open_engine(sqlite_url(tmp_path / "ledger.db")))
    erase(database)
    for opened in (other, database):
        with opened.write() as tx:
            tx.audit._session.execute(text("INSERT INTO secrets (openings) VALUES ('x')"))
        with opened.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "truncate"
            assert connection.exec_driver_sql("PRAGMA locking_mode").scalar_one() == "normal"
        assert opened.problems() == []
    other.close()


def test_what_fails_is_undone(database: Database, tmp_path: Path) -> None:
    with suppress(ConflictError), database.erase() as tx:
        tx.audit._session.execute(text("UPDATE secrets SET openings = NULL"))
        raise ConflictError("second thoughts")
    assert "ledger.db" in holders(tmp_path)
    assert database.problems() == []
    erase(database)
    assert holders(tmp_path) == []


def test_a_journal_that_somebody_else_needs_is_left_alone(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine_module.PRAGMAS, "busy_timeout", 50)
    impatient = Database(open_engine(sqlite_url(tmp_path / "ledger.db")))
    with database.write() as tx:
        # Written to the file before the commit, as in a transaction that outgrows its memory: the journal counts.
        tx.audit._session.execute(text("PRAGMA cache_spill = 1"))
        tx.audit._session.execute(text("UPDATE secrets SET openings = 'changed'"))
        journal = (tmp_path / JOURNAL).read_bytes()
        with pytest.raises(BusyError), impatient.erase():
            pass
        assert (tmp_path / JOURNAL).read_bytes() == journal
    impatient.close()
    assert database.problems() == []
