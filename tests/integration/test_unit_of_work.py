"""One transaction: everything or nothing, one state for readers, writers one after another."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime

import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url

from ledger.domain.models import NewModel
from ledger.domain.requests import Request
from ledger.domain.states import RequestState
from ledger.errors import LedgerError, RetryLaterError, UnreachableError
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import upgrade_schema
from ledger.store.unit_of_work import Database
from tests.fixtures.events import any_event

MakeModel = Callable[..., NewModel]
FileRequest = Callable[..., Request]


@pytest.fixture
def impatient(database: Database, database_url: str) -> Iterator[Database]:
    """The same database through connections that wait a tenth of a second for a lock."""
    with ExitStack() as stack:
        if database.engine.dialect.name == "sqlite":
            engine = open_engine(database_url)
            event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA busy_timeout = 100"))
        else:
            url = make_url(database_url).update_query_dict({"options": "-c lock_timeout=100ms"})
            engine = open_engine(url.render_as_string(hide_password=False))
        yield stack.enter_context(closing(Database(engine)))


def test_a_block_that_raises_leaves_nothing(
    database: Database, new_model: MakeModel, file_request: FileRequest, when: datetime
) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as tx:  # noqa: PT012 - the whole block is what is undone
        model = tx.models.add(new_model())
        file_request(tx, model, idempotency_key="key")
        tx.objects.add("a" * 64, 1, "weights", at=when)
        tx.audit.append(any_event("request.filed"), at=when, actor="alice", note="why")
        raise ZeroDivisionError
    with database.read() as tx:
        assert tx.models.all() == []
        assert tx.requests.all() == []
        assert tx.requests.by_keys(["key"]) == {}
        assert tx.objects.kept() == []
        assert tx.audit.verify().size == 0


def test_a_statement_that_the_database_refuses_takes_the_whole_block_with_it(
    database: Database, new_model: MakeModel, file_request: FileRequest
) -> None:
    with pytest.raises(LedgerError, match="the database refused"), database.write() as tx:  # noqa: PT012 - the whole block is what is undone
        model = tx.models.add(new_model())
        for _ in range(2):
            file_request(tx, model, idempotency_key="same")
    with database.read() as tx:
        assert tx.models.all() == []


def test_what_a_block_wrote_is_there_for_everybody_once_it_ends(
    database: Database, impatient: Database, new_model: MakeModel
) -> None:
    with database.write() as tx:
        stored = tx.models.add(new_model())
        assert tx.models.all() == [stored]
        with impatient.read() as other:
            assert other.models.all() == []
    with impatient.read() as other:
        assert other.models.all() == [stored]


def test_a_reading_transaction_is_never_committed(database: Database, new_model: MakeModel) -> None:
    with database.read() as tx:
        tx.models.add(new_model())
    with database.read() as tx:
        assert tx.models.all() == []


def test_a_reader_sees_one_state_whatever_writers_do(database: Database, impatient: Database, when: datetime) -> None:
    with database.write() as tx:
        tx.audit.append(any_event("request.filed"), at=when, actor="alice")
    with database.read() as tx:
        head = tx.audit.verify()
        # PostgreSQL lets the writer pass the reader; SQLite makes it wait.
        try:
            with impatient.write() as other:
                other.audit.append(any_event("request.fulfilled"), at=when, actor="bob")
            passed = True
        except RetryLaterError:
            passed = False
        assert passed == (database.engine.dialect.name == "postgresql")
        assert len(list(tx.audit.entries())) == 1
        assert tx.audit.verify() == head == tx.audit.head()
    with database.read() as tx:
        assert tx.audit.verify().size == 1 + passed


@pytest.mark.postgres
def test_a_connection_that_was_cut_is_told_of_and_the_next_transaction_has_another(
    postgres_url: str, when: datetime
) -> None:
    database, other = Database(open_engine(postgres_url)), open_engine(postgres_url)
    upgrade_schema(other)
    with pytest.raises(UnreachableError), database.write() as tx:  # noqa: PT012 - the whole block is what fails
        number = tx.audit._open.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with other.connect() as connection:
            connection.exec_driver_sql("SELECT pg_terminate_backend(%s)", (number,))
        tx.audit.append(any_event("request.filed"), at=when, actor="alice")
    with database.write() as tx:
        assert tx.audit.append(any_event("request.filed"), at=when, actor="alice") == 1
    database.close()
    other.dispose()


def test_a_second_writer_is_told_to_come_back_later(
    database: Database, impatient: Database, new_model: MakeModel
) -> None:
    with database.write() as tx:
        tx.models.add(new_model())
        with pytest.raises(RetryLaterError, match="the database is busy") as caught, impatient.write() as other:
            other.models.add(new_model("bikes"))
        assert caught.value.exit_code == 75
    with impatient.write() as other:
        other.models.add(new_model("boats"))
    with database.read() as tx:
        assert [model.name for model in tx.models.all()] == ["boats", "cars"]


def test_values_outlive_their_transaction(database: Database, new_model: MakeModel, file_request: FileRequest) -> None:
    with database.write() as tx:
        model = tx.models.add(new_model())
        request = file_request(tx, model)
    database.close()
    assert (model.name, model.labels[2], request.classes, request.is_open) == ("cars", "Zoë", frozenset({1}), True)


WRITER = """
import sys
from datetime import UTC, datetime

from ledger.domain.events.event import Event
from ledger.domain.states import Action
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import upgrade_schema
from ledger.store.unit_of_work import Database


class Filed(Event):
    kind = "request.filed"


class Fulfilled(Event):
    kind = "request.fulfilled"


database, name, count = Database(open_engine(sys.argv[1])), sys.argv[2], int(sys.argv[3])
now = datetime.now(UTC)
with database.read() as tx:
    model = tx.models.get("cars")
for _ in range(count):
    with database.write() as tx:
        number = tx.requests.add({
            "model_id": model.id, "classes": [1], "state": "queued", "actor": name, "reason": "", "basis": "",
            "external_id": "", "received_at": now, "due_at": now, "created_at": now, "updated_at": now,
            "body_digest": "",
        }).id
        tx.audit.append(Filed(), at=now, actor=name, request_id=number)
    with database.write() as tx:
        while (claim := tx.requests.claim(owner=name, ttl=600, at=now)) is not None:
            tx.requests.finish(claim, Action.FULFIL, at=now, outcome=name)
            tx.audit.append(Fulfilled(), at=now, actor=name, request_id=claim.request.id)
database.close()
"""


def test_processes_that_write_at_once_leave_one_history_without_gaps(
    database: Database, database_url: str, new_model: MakeModel
) -> None:
    with database.write() as tx:
        tx.models.add(new_model())
    names, count = ("first", "second", "third"), 6
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, database_url, name, str(count)], stderr=subprocess.PIPE)
        for name in names
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    with database.read() as tx:
        head, events, requests = tx.audit.verify(), list(tx.audit.events()), tx.requests.all()
    assert [request.id for request in requests] == list(range(1, 3 * count + 1))
    # Each was filed once and carried out once, by one of them.
    assert {request.state for request in requests} == {RequestState.FULFILLED}
    assert {(request.attempts, request.lease_epoch) for request in requests} == {(1, 1)}
    assert head.size == len(events) == 2 * 3 * count
    for name in names:
        assert sum(event.actor == name and event.kind == "request.filed" for event in events) == count
    done = [(event.request_id, event.actor) for event in events if event.kind == "request.fulfilled"]
    assert sorted(done) == [(request.id, request.outcome) for request in requests]
    # In the order filed: nobody overtook the head of the queue.
    assert done == sorted(done)
