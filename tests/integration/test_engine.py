"""Opening databases: settings that hold, addresses that make no sense, and failures in our own words."""

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select, text
from sqlalchemy.exc import DBAPIError

from ledger.errors import (
    BusyError,
    IntegrityError,
    LedgerError,
    RefusedError,
    SchemaVersionError,
    UnreachableError,
    UsageError,
)
from ledger.store.database import engine as engine_module
from ledger.store.database.engine import PRAGMAS, WRITER, database_time, open_engine, translated
from ledger.store.database.schema import check_schema, current_revision, upgrade_schema
from ledger.store.database.sqlite_limits import check_journal, wal_is_safe
from ledger.store.unit_of_work import Database
from tests.fixtures.events import any_event

Opener = Callable[[str], Engine]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Open engines that are closed after the test."""
    with ExitStack() as stack:

        def open_one(url: str) -> Engine:
            engine = open_engine(url)
            stack.callback(engine.dispose)
            return engine

        yield open_one


# -- SQLite's settings --------------------------------------------------------------------------------


def test_every_sqlite_connection_has_the_settings_that_make_it_durable(sqlite_url: str, opened: Opener) -> None:
    engine = opened(sqlite_url)
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            for name, value in PRAGMAS.items():
                assert connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() == value
    assert PRAGMAS["synchronous"] == 2
    assert PRAGMAS["foreign_keys"] == 1


def test_write_ahead_mode_is_refused_or_kept_according_to_the_version(
    sqlite_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{sqlite_url}?journal_mode=wal"
    if not wal_is_safe(sqlite3.sqlite_version_info):
        with pytest.raises(RefusedError, match="write-ahead mode"):
            open_engine(url)
    # As with a version that is safe: one process alone does no harm here.
    monkeypatch.setattr(engine_module, "check_journal", partial(check_journal, version=(3, 51, 3)))
    engine = opened(url)
    upgrade_schema(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    engine.dispose()
    # Back again: the mode is the connection's choice, not the file's.
    with opened(sqlite_url).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "truncate"
    check_schema(opened(f"{sqlite_url}?journal_mode=TRUNCATE"))
    with pytest.raises(UsageError, match="journal_mode=off is not supported"):
        open_engine(f"{sqlite_url}?journal_mode=off")


def test_a_database_that_does_not_keep_its_settings_is_refused(opened: Opener) -> None:
    # A database in memory has no journal file to be durable with.
    with pytest.raises(IntegrityError, match="SQLite kept journal_mode at 'memory'"):
        upgrade_schema(opened("sqlite://"))


def test_sqlite_enforces_foreign_keys(sqlite_url: str, opened: Opener) -> None:
    engine = opened(sqlite_url)
    upgrade_schema(engine)
    with pytest.raises(DBAPIError, match="FOREIGN KEY constraint failed"), engine.begin() as connection:
        connection.execute(text("INSERT INTO audit_notes (seq, salt, text) VALUES (1, '', '')"))


def test_a_sqlite_writer_takes_its_lock_when_it_begins(sqlite_url: str, opened: Opener) -> None:
    engine = opened(sqlite_url)
    event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA busy_timeout = 0"))
    writer = engine.execution_options(**{WRITER: True})
    with writer.begin(), engine.begin(), writer.connect() as second, pytest.raises(DBAPIError, match="locked"):
        second.begin()


# -- addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is not a database URL"),
        ("ledger.db", "is not a database URL"),
        ("sqlite:/ledger.db", "is not a database URL"),
        ("/tmp/ledger.db", "is not a database URL"),
        ("mysql://localhost/ledger", "mysql is not supported"),
        ("oracle+cx://localhost", "oracle is not supported"),
        ("postgresql+nosuchdriver://localhost/ledger", "is not a database URL"),
        ("sqlite+nosuchdriver:///ledger.db", "is not a database URL"),
        ("postgresql+psycopg://localhost:port/ledger", "is not a database URL"),
    ],
)
def test_an_address_that_names_no_database_of_ours_is_refused(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_engine(url)
    assert caught.value.exit_code == 2


@given(url=st.one_of(st.text(max_size=30), st.text(max_size=20).map("postgresql+psycopg://".__add__)))
def test_any_address_opens_or_fails_with_our_error(url: str) -> None:
    with suppress(UsageError):
        open_engine(url).dispose()


def test_a_missing_driver_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError, match="the database driver psycopg is missing") as caught:
        open_engine("postgresql+psycopg://localhost/ledger")
    assert "unledger[postgres]" in caught.value.hint


# -- failures, in our own words -----------------------------------------------------------------------


def test_a_database_that_is_not_there_cannot_be_opened(tmp_path: Path, opened: Opener) -> None:
    with pytest.raises(LedgerError, match="the database cannot be opened"):
        check_schema(opened(f"sqlite:///{tmp_path / 'missing' / 'ledger.db'}"))
    with pytest.raises(LedgerError, match="the database cannot be opened") as caught:
        check_schema(opened(f"postgresql+psycopg://nobody@/ledger?host={tmp_path}"))
    assert caught.value.hint == "see: unledger doctor"


def test_a_read_only_database_can_be_read_and_says_so_when_written(
    tmp_path: Path, sqlite_url: str, opened: Opener, when: datetime
) -> None:
    upgrade_schema(opened(sqlite_url))
    # SQLite's own read-only mode: file permissions would not stop root.
    database = Database(opened(f"sqlite:///file:{tmp_path / 'ledger.db'}?mode=ro&uri=true"))
    check_schema(database.engine)
    with database.read() as tx:
        assert tx.models.all() == []
    with pytest.raises(LedgerError, match="the database cannot be written") as caught, database.write() as tx:
        tx.audit.append(any_event("request.filed"), at=when, actor="alice")
    assert "permissions" in caught.value.hint


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path, opened: Opener) -> None:
    (tmp_path / "ledger.db").write_bytes(b"this is a text file, and long enough to be read as a header" * 50)
    with pytest.raises(IntegrityError, match="the database is damaged") as caught:
        check_schema(opened(f"sqlite:///{tmp_path / 'ledger.db'}"))
    assert caught.value.exit_code == 5


def test_a_database_with_overwritten_pages_is_damaged(tmp_path: Path, sqlite_url: str, opened: Opener) -> None:
    upgrade_schema(opened(sqlite_url))
    path = tmp_path / "ledger.db"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    database = Database(opened(sqlite_url))
    with pytest.raises(IntegrityError, match="the database is damaged"), database.read() as tx:
        tx.models.all()


def test_a_full_disk_is_named_and_nothing_is_kept(sqlite_url: str, opened: Opener, when: datetime) -> None:
    engine = opened(sqlite_url)
    upgrade_schema(engine)
    database = Database(engine)
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        # SQLite then reports SQLITE_FULL, as it does when the disk is full.
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match="disk is full") as caught, database.write() as tx:
        tx.objects.add("a" * 64, 1, "x" * 100_000, at=when)
    assert "free some disk space" in caught.value.hint
    with database.read() as tx:
        assert tx.objects.kept() == []


@pytest.mark.parametrize("operation", ["read", "write"])
def test_a_database_without_a_ledger_says_how_to_make_one(database_url: str, opened: Opener, operation: str) -> None:
    database = Database(opened(database_url))
    with pytest.raises(SchemaVersionError, match="has no ledger in it"), getattr(database, operation)() as tx:
        tx.models.all()
    assert current_revision(database.engine) is None


@pytest.mark.postgres
def test_a_server_that_goes_away_is_our_error(postgres_url: str, opened: Opener) -> None:
    database = Database(opened(postgres_url))
    upgrade_schema(database.engine)
    other = opened(postgres_url)
    everybody_else = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(UnreachableError, match="cannot be opened"), database.write() as tx:  # noqa: PT012 - cut in its middle
        with other.begin() as connection:
            connection.execute(text(everybody_else))
        tx.models.all()
    # The next transaction opens a connection of its own.
    with database.read() as tx:
        assert tx.models.all() == []


@pytest.mark.postgres
def test_a_deadlock_is_worth_another_try(postgres_url: str, opened: Opener) -> None:
    engine = opened(postgres_url)
    with pytest.raises(BusyError, match="the database is busy"), translated(), engine.begin() as connection:
        # What the server says when it breaks a deadlock, without waiting a second for one.
        connection.execute(text("DO $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$"))


def test_other_refusals_keep_the_databases_words(database: Database) -> None:
    refused = pytest.raises(LedgerError, match=r"the database refused: .*syntax error")
    with refused, translated(), database.engine.begin() as connection:
        connection.execute(text("SELEC"))


def test_errors_that_are_not_the_databases_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), translated():
        raise ZeroDivisionError


# -- the clock ----------------------------------------------------------------------------------------


def test_the_databases_clock_counts_seconds_since_1970(database: Database) -> None:
    with database.engine.connect() as connection:
        before = time.time()
        now = connection.execute(select(database_time())).scalar_one()
        time.sleep(0.05)
        later = connection.execute(select(database_time())).scalar_one()
    assert isinstance(now, float)
    # Both run on this machine; SQLite's clock ticks in milliseconds.
    assert abs(now - before) < 1
    # It moves on within a transaction: leases would never expire otherwise.
    assert later - now >= 0.04
