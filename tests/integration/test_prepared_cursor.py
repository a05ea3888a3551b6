"""Writing transactions on a server: one connection handed on, statements prepared once, and either of them gone."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from types import FrameType

import pytest

from ledger.errors import LedgerError
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import upgrade_schema
from ledger.store.unit_of_work import Database, Transaction
from tests.fixtures.events import any_event

pytestmark = pytest.mark.postgres


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    engine = open_engine(postgres_url)
    upgrade_schema(engine)
    with closing(Database(engine)) as database:
        yield database


def run(tx: Transaction, statement: str) -> object:
    """Carry out a statement as somebody else in the same transaction, through the driver's own cursor."""
    result = tx.audit._open.connection.exec_driver_sql(statement)
    return result.scalar_one() if result.returns_rows else None


def append(tx: Transaction, when: datetime, note: str = "") -> int:
    return tx.audit.append(any_event("request.filed"), at=when, actor="alice", note=note)


def test_one_connection_is_handed_on(database: Database, when: datetime) -> None:
    servers = set()
    for _ in range(3):
        with database.write() as tx:
            append(tx, when)
            servers.add(run(tx, "SELECT pg_backend_pid()"))
    assert len(servers) == 1
    with database.read() as tx:
        assert tx.audit.verify().size == 3


def test_statements_are_prepared_once(database: Database, when: datetime) -> None:
    for _ in range(5):
        with database.write() as tx:
            append(tx, when)
            prepared = run(tx, "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'unledger%%'")
    # The lock on the head, and the statement that adds an entry.
    assert prepared == 2


def test_a_transaction_that_was_undone_leaves_nothing_to_the_next(database: Database, when: datetime) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as tx:  # noqa: PT012 - the whole block is what is undone
        append(tx, when)
        raise ZeroDivisionError
    with database.write() as tx:
        assert append(tx, when) == 1


def test_statements_that_are_prepared_no_more_are_prepared_again(database: Database, when: datetime) -> None:
    for number in (1, 2, 3):
        with database.write() as tx:
            assert append(tx, when) == number
            run(tx, "DEALLOCATE ALL")
    with database.read() as tx:
        assert tx.audit.verify().size == 3


def test_statements_are_prepared_again_behind_a_savepoint_that_was_undone(database: Database, when: datetime) -> None:
    with database.write() as tx:
        append(tx, when)
        for _ in range(10):
            # Now the driver has something of its own to deallocate.
            run(tx, "SELECT 1")
        with pytest.raises(ZeroDivisionError), tx.audit._open.connection.begin_nested():  # noqa: PT012 - what is undone
            append(tx, when)
            raise ZeroDivisionError
        assert append(tx, when) == 2
    with database.read() as tx:
        assert tx.audit.verify().size == 2


def test_a_connection_that_was_cut_between_transactions_is_not_used(database: Database, when: datetime) -> None:
    with database.write() as tx:
        append(tx, when)
        cut = run(tx, "SELECT pg_backend_pid()")
    with database.engine.connect() as other:
        other.exec_driver_sql("SELECT pg_terminate_backend(%s, 10000)", (cut,))
    with database.write() as tx:
        assert append(tx, when) == 2
        assert run(tx, "SELECT pg_backend_pid()") != cut


def test_writers_at_once_have_a_connection_each(database: Database, when: datetime) -> None:
    def write() -> None:
        for _ in range(20):
            with database.write() as tx:
                append(tx, when)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as tx:
        assert tx.audit.verify().size == 80


def test_text_that_the_server_cannot_hold_is_refused(database: Database, when: datetime) -> None:
    with pytest.raises(LedgerError, match="NUL"), database.write() as tx:
        append(tx, when, note="cut here\0")
    with database.write() as tx:
        assert append(tx, when, note="'quoted' \\ {braces} %s $1 \N{SNOWMAN}") == 1
    with database.read() as tx:
        assert [event.note for event in tx.audit.events(check_notes=True)] == ["'quoted' \\ {braces} %s $1 \N{SNOWMAN}"]


def test_more_than_fits_at_once_arrives(database: Database, when: datetime) -> None:
    long = "long " * 2_000_000
    with database.write() as tx:
        append(tx, when, note=long)
    with database.read() as tx:
        assert [event.note for event in tx.audit.events(check_notes=True)] == [long]


@contextmanager
def interrupted(seconds: float) -> Iterator[None]:
    """Interrupt the block as a person at the keyboard does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_who_waits_for_the_lock_can_be_interrupted(database: Database, when: datetime) -> None:
    with database.write() as holder:
        append(holder, when)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), interrupted(0.3), database.write():
            pytest.fail("two transactions hold the lock")
        assert time.monotonic() - began < 5
    with database.write() as tx:
        assert append(tx, when) == 2
