"""A database that another process holds: how long a command waits for it, and what it says meanwhile."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ledger.errors import BusyError
from ledger.store.database import engine as engine_module
from ledger.store.database import waiting
from ledger.store.database.engine import BUSY_TIMEOUT, PRAGMAS, open_engine
from ledger.store.database.schema import check_schema, upgrade_schema
from ledger.store.database.waiting import PATIENCE_MS, TEXT, telling_of_a_wait
from ledger.store.unit_of_work import Database
from tests.fixtures.events import any_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

QUICK_MS, SOON_MS = 600, 100


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything go faster than it does for people."""
    monkeypatch.setitem(PRAGMAS, BUSY_TIMEOUT, QUICK_MS)
    monkeypatch.setattr(engine_module, "PATIENCE_MS", QUICK_MS)
    monkeypatch.setattr(waiting, "SILENCE_MS", SOON_MS)


@pytest.fixture
def held(tmp_path: Path, sqlite_url: str) -> Iterator[sqlite3.Connection]:
    """Another process's connection to a SQLite ledger."""
    engine = open_engine(sqlite_url)
    upgrade_schema(engine)
    engine.dispose()
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)) as connection:
        yield connection


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """Open a database for a while."""
    database = Database(open_engine(url))
    try:
        yield database
    finally:
        database.close()


def read(database: Database, _when: datetime) -> None:
    """Read something."""
    with database.read() as tx:
        tx.models.all()


def write(database: Database, when: datetime) -> None:
    """Write something."""
    with database.write() as tx:
        tx.audit.append(any_event("request.filed"), at=when, actor="alice")


def look(database: Database, _when: datetime) -> None:
    """Look at the schema, as every command does first."""
    check_schema(database.engine)


def told(caplog: pytest.LogCaptureFixture) -> int:
    """Return how often somebody was told that a command waits."""
    return [record.getMessage() for record in caplog.records].count(TEXT)


LOCKS: list[tuple[list[str], Any]] = [
    (["BEGIN IMMEDIATE"], write),
    (["BEGIN EXCLUSIVE"], write),
    (["BEGIN EXCLUSIVE"], read),
    (["BEGIN EXCLUSIVE"], look),
    # A reader that stays, e.g. a copy of the database that is being made: commits wait for it.
    (["BEGIN", "SELECT count(*) FROM requests"], write),
]
NAMES = ["a writer and a writer", "everything and a writer", "everything and a reader", "the schema", "a commit"]


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(("lock", "act"), LOCKS, ids=NAMES)
def test_the_wait_is_bounded_and_told_of_once(
    held: sqlite3.Connection,
    sqlite_url: str,
    when: datetime,
    caplog: pytest.LogCaptureFixture,
    lock: list[str],
    act: Callable[[Database, datetime], None],
) -> None:
    for statement in lock:
        held.execute(statement).fetchall()
    began = time.monotonic()
    with opened(sqlite_url) as database, pytest.raises(BusyError, match="the database is busy"):
        act(database, when)
    assert QUICK_MS / 1000 * 0.8 <= time.monotonic() - began < 3
    assert told(caplog) == 1


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(("lock", "act"), LOCKS, ids=NAMES)
def test_what_waited_goes_on_when_it_can(
    held: sqlite3.Connection,
    sqlite_url: str,
    when: datetime,
    caplog: pytest.LogCaptureFixture,
    lock: list[str],
    act: Callable[[Database, datetime], None],
) -> None:
    for statement in lock:
        held.execute(statement).fetchall()
    timer = threading.Timer(0.25, held.execute, ["ROLLBACK"])
    timer.start()
    with opened(sqlite_url) as database:
        act(database, when)
        timer.join()
        assert told(caplog) == 1
        # And the next one has the whole patience again, and is not told of anything.
        act(database, when)
        with database.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == QUICK_MS
        with database.read() as tx:
            assert tx.audit.head().size == (2 if act is write else 0)
    assert told(caplog) == 1


def test_a_short_wait_is_not_worth_a_word(
    held: sqlite3.Connection, sqlite_url: str, when: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    held.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, held.execute, ["ROLLBACK"])
    timer.start()
    with opened(sqlite_url) as database:
        write(database, when)
    timer.join()
    assert told(caplog) == 0


def test_people_wait_a_quarter_of_a_minute() -> None:
    assert PRAGMAS[BUSY_TIMEOUT] == PATIENCE_MS == 15_000
    assert waiting.SILENCE_MS == 2_000


def test_a_wait_on_the_servers_side_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "SILENCE_MS", SOON_MS)
    for _ in range(20):
        with telling_of_a_wait():
            pass
    # One thread watches over all waits.
    assert [thread.name for thread in threading.enumerate()].count("waits") <= 1
    assert told(caplog) == 0
    with telling_of_a_wait():
        # As long as the thread may have been asleep when it heard of a shorter time than usual.
        time.sleep(0.6)
    assert told(caplog) == 1


@pytest.mark.postgres
@pytest.mark.usefixtures("hurry")
def test_a_server_whose_log_somebody_holds_is_busy(
    postgres_url: str, when: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(postgres_url) as database, opened(postgres_url) as other:
        upgrade_schema(database.engine)
        with other.write():
            began = time.monotonic()
            with pytest.raises(BusyError, match="lock timeout"):
                write(database, when)
            assert time.monotonic() - began < 3
        assert told(caplog) == 1
        write(database, when)
        # The bound outlives transactions that are undone.
        with database.engine.connect() as connection:
            assert connection.execute(text("SHOW lock_timeout")).scalar_one() == f"{QUICK_MS}ms"
    assert logging.getLogger("unledger.database") is waiting.logger


@pytest.mark.usefixtures("held")
def test_who_holds_writers_up_does_not_wait_for_who_waits_for_them(sqlite_url: str, when: datetime) -> None:
    ended: list[str] = []
    beginning = threading.Event()

    def begin_reading(database: Database) -> None:
        with database.read() as tx:
            beginning.set()
            tx.trusted.catch_up()
        ended.append("new reader")

    def write_one(database: Database) -> None:
        write(database, when)
        ended.append("writer")

    with opened(sqlite_url) as reader, opened(sqlite_url) as writer, opened(sqlite_url) as other:
        # A connection waits for others when it is made, and is kept.
        read(other, when)
        with reader.read() as tx:
            assert tx.models.all() == []
            writing = threading.Thread(target=write_one, args=(writer,))
            writing.start()
            assert eventually(lambda: is_held_up(sqlite_url))
            # It waits until the writer has written, in the middle of making its first thing.
            reading = threading.Thread(target=begin_reading, args=(other,))
            reading.start()
            assert beginning.wait(5)
            time.sleep(0.2)
            began = time.monotonic()
            tx.trusted.catch_up()
            assert time.monotonic() - began < 5
            assert ended == []
        writing.join(10)
        reading.join(10)
    assert sorted(ended) == ["new reader", "writer"]


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait for a few seconds until something is so."""
    for _ in range(250):
        if condition():
            return True
        time.sleep(0.02)
    return False


def is_held_up(url: str) -> bool:
    """Whether a writer waits for readers to end, so that nobody may begin to read."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0)) as connection:
        try:
            connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        except sqlite3.OperationalError:
            return True
    return False
