"""Many requests at once: how many statements they take, what is filed of them, and what is shown of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ledger.config import create_config
from ledger.domain.requests import NewRequest
from ledger.domain.states import RequestState
from ledger.errors import (
    AuditError,
    BusyError,
    IdempotencyConflictError,
    IntegrityError,
    RowError,
    TooFewRetainedError,
    UsageError,
)
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.requests import filing
from ledger.service.requests.filing import FEW, Receipt, enqueue
from ledger.service.requests.listing import list_requests
from ledger.service.requests.status import status
from ledger.service.versions.model_history import list_models
from ledger.store.audit.log import AuditLog, NewEntry
from ledger.store.replay.trusted_state import TrustedState
from ledger.store.unit_of_work import Database
from tests.fixtures.events import any_event
from tests.ledgers.command_line import Cli
from tests.ledgers.stand_in import register_stand_in
from tests.ledgers.statements import statements

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
LABELS = tuple(f"class {k}" for k in range(10))


@pytest.fixture
def ledger(tmp_path: Path, database_url: str) -> Iterator[Ledger]:
    """A ledger with a model of ten classes, on each supported database."""
    opened = create_ledger(create_config(tmp_path / "ledger", database_url, "objects"), "tester", clock=lambda: NOW)
    register_stand_in(opened, "cars", LABELS, b"weights", at=NOW)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let parts follow each other at once."""
    monkeypatch.setattr(filing, "PAUSE", 0)


def some(count: int, *, keys: str | None = None, classes: int = 7) -> list[NewRequest]:
    return [
        NewRequest(frozenset({n % classes}), "alice", reason="asked to", idempotency_key=keys and f"{keys}-{n}")
        for n in range(count)
    ]


def count(ledger: Ledger, act: Callable[[], object]) -> int:
    with statements(ledger) as seen:
        act()
    return len(seen)


def numbers(receipts: list[Receipt]) -> list[int]:
    return [receipt.request.id for receipt in receipts]


# -- filing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [None, "key"])
def test_filing_takes_as_many_statements_for_many_requests_as_for_few(ledger: Ledger, keys: str | None) -> None:
    enqueue(ledger, "cars", some(1))
    few = count(ledger, lambda: enqueue(ledger, "cars", some(FEW + 1, keys=keys and "few")))
    many = count(ledger, lambda: enqueue(ledger, "cars", some(200, keys=keys and "many")))
    behind_many = count(ledger, lambda: enqueue(ledger, "cars", some(FEW + 1, keys=keys and "again")))
    # 200 entries may complete one subtree of 256, which takes one more.
    assert many in (few, few + 1)
    assert behind_many in (few, few + 1)


def test_repeating_many_requests_takes_no_more_statements_than_repeating_few(ledger: Ledger) -> None:
    sent = some(200, keys="key")
    filed = enqueue(ledger, "cars", sent)
    few = count(ledger, lambda: enqueue(ledger, "cars", sent[: FEW + 1]))
    with statements(ledger) as seen:
        again = enqueue(ledger, "cars", sent)
    assert len(seen) == few
    assert numbers(again) == numbers(filed)
    assert all(receipt.repeated for receipt in again)


def test_what_is_filed_in_parts_is_filed_in_order_and_verifies(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "PART", 50)
    with statements(ledger) as seen:
        receipts = enqueue(ledger, "cars", some(120))
    assert numbers(receipts) == list(range(1, 121))
    assert [receipt.request.classes for receipt in receipts] == [new.classes for new in some(120)]
    assert sum("UPDATE audit_head" in statement for statement in seen) == ceil(120 / 50)
    with ledger.database.read() as tx:
        tx.audit.verify()
        tx.trusted.covered("cars")
        tx.trusted.requests("cars")


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (NewRequest(frozenset(), "alice"), UsageError),
        (NewRequest(frozenset({1}), "alice", received_at=NOW, due_at=NOW - timedelta(days=1)), UsageError),
        (NewRequest(frozenset({7, 8, 9}), "alice"), TooFewRetainedError),
        (NewRequest(frozenset({3}), "alice", idempotency_key="key-0"), IdempotencyConflictError),
    ],
    ids=["no class", "dates", "too few left", "key"],
)
def test_nothing_is_filed_if_one_request_of_many_parts_cannot_be(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, last: NewRequest, error: type[Exception]
) -> None:
    monkeypatch.setattr(filing, "PART", 5)
    with pytest.raises(error):
        enqueue(ledger, "cars", [*some(12, keys="key"), last])
    assert list_requests(ledger) == []


def test_a_part_that_fails_leaves_the_parts_before_it_and_says_so(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filing, "PART", 5)
    sent, append, calls = some(12, keys="key"), AuditLog.append_all, iter(range(100))

    def fail_once(self: AuditLog, entries: list[NewEntry]) -> int:
        seq = append(self, entries)
        if next(calls) == 1:
            raise UsageError("the second part failed", "try again")
        return seq

    monkeypatch.setattr(AuditLog, "append_all", fail_once)
    with pytest.raises(UsageError) as failed:
        enqueue(ledger, "cars", sent)
    assert "the first 5 of 12 requests were filed" in failed.value.hint
    assert failed.value.hint.endswith("try again")
    assert len(list_requests(ledger)) == 5
    receipts = enqueue(ledger, "cars", sent)
    assert [receipt.repeated for receipt in receipts] == [True] * 5 + [False] * 7
    assert numbers(receipts) == list(range(1, 13))


def test_a_busy_part_is_tried_again_without_filing_anything_twice(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filing, "PART", 5)
    append, calls = AuditLog.append_all, iter(range(100))

    def busy_once(self: AuditLog, entries: list[NewEntry]) -> int:
        seq = append(self, entries)
        if next(calls) == 1:
            raise BusyError("busy")
        return seq

    monkeypatch.setattr(AuditLog, "append_all", busy_once)
    assert numbers(enqueue(ledger, "cars", some(12))) == list(range(1, 13))
    assert len(list_requests(ledger)) == 12


def test_a_key_that_is_sent_twice_at_once_is_filed_once(ledger: Ledger) -> None:
    [first, second, third] = enqueue(ledger, "cars", [*some(2, keys="key"), *some(1, keys="key")])
    assert (third.repeated, third.request) == (True, first.request)
    assert not second.repeated
    assert len(list_requests(ledger)) == 2


def test_a_repeated_request_that_was_changed_in_the_database_is_not_answered(ledger: Ledger) -> None:
    enqueue(ledger, "cars", some(3, keys="key"))
    with ledger.database.engine.begin() as connection:
        connection.execute(text("UPDATE requests SET reason = 'another' WHERE id = 2"))
    with pytest.raises(RowError, match="requests 2"):
        enqueue(ledger, "cars", some(3, keys="key"))


def test_a_log_is_verified_before_the_write_lock_is_taken(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue(ledger, "cars", some(20))
    fresh = Database(ledger.database.engine)
    other = Ledger(ledger.config, fresh, ledger.objects, "tester", ledger.clock)
    read: list[tuple[bool, int]] = []
    locked: list[bool] = []
    pages = AuditLog.listed

    def note(self: AuditLog, after: int = 0) -> Iterator[Any]:
        for page in pages(self, after):
            read.append((bool(locked), len(page)))
            yield page

    write = Database.write

    @contextmanager
    def noted(self: Database) -> Iterator[Any]:
        with write(self) as tx:
            locked.append(True)
            yield tx
            locked.pop()

    monkeypatch.setattr(AuditLog, "listed", note)
    monkeypatch.setattr(Database, "write", noted)
    enqueue(other, "cars", some(2))
    # Under the lock, the last entry is looked at: whether it is still there, and none follows.
    assert read == [(False, 23), (True, 1)]


def test_entries_appended_together_are_those_appended_one_by_one(ledger: Ledger) -> None:
    def entries(first: int, last: int) -> list[NewEntry]:
        events = ((n, any_event("request.filed", n=n)) for n in range(first, last))
        return [NewEntry(event, NOW, "alice", "cars", request_id=n) for n, event in events]

    def heads(act: Callable[[AuditLog], object]) -> tuple[Any, bytes]:
        def undone() -> None:
            with ledger.database.write() as tx:
                act(tx.audit)
                found.append((tx.audit.verify(), tx.audit.root()))
                raise ZeroDivisionError

        found: list[tuple[Any, bytes]] = []
        with pytest.raises(ZeroDivisionError):
            undone()
        return found[0]

    def one_by_one(log: AuditLog) -> None:
        for entry in entries(1, 700):
            log.append(entry.event, at=entry.at, actor=entry.actor, model=entry.model, request_id=entry.request_id)

    def together(log: AuditLog) -> None:
        log.append_all(entries(1, 300))
        assert log.append_all([]) == log.head().size
        log.append_all(entries(300, 700))

    assert heads(one_by_one) == heads(together)


# -- looking ------------------------------------------------------------------------------------------


def test_status_counts_all_requests_and_lists_the_earliest_due(ledger: Ledger) -> None:
    late = [NewRequest(frozenset({1}), "alice", received_at=NOW - timedelta(days=90 - n)) for n in range(4)]
    enqueue(ledger, "cars", [*some(6), *late])
    [found] = status(ledger, most=3).models
    assert (found.open_count, found.overdue_count) == (10, 4)
    assert found.states == {RequestState.QUEUED: 10}
    assert [request.id for request in found.open] == [7, 8, 9]
    assert [request.id for request in found.overdue] == [7, 8, 9]
    everything = status(ledger)
    assert [request.id for request in everything.models[0].open] == [7, 8, 9, 10, 1, 2, 3, 4, 5, 6]
    assert [request.id for request in everything.overdue] == [7, 8, 9, 10]
    assert everything.overdue_count == 4


@pytest.mark.parametrize("look", [status, list_requests, list_models])
def test_looking_takes_as_many_statements_however_many_requests_there_are(
    ledger: Ledger, look: Callable[[Ledger], object]
) -> None:
    enqueue(ledger, "cars", some(1))
    few = count(ledger, lambda: look(ledger))
    enqueue(ledger, "cars", some(300))
    assert count(ledger, lambda: look(ledger)) == few


@pytest.mark.parametrize("look", [status, list_requests, list_models])
def test_looking_does_not_read_the_whole_log(
    ledger: Ledger, look: Callable[[Ledger], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the whole log is verified")

    monkeypatch.setattr(TrustedState, "catch_up", refuse)
    look(ledger)


@pytest.mark.parametrize("look", [status, list_requests, list_models])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ('UPDATE models SET labels = \'["a","b","c","d","e","f","g","h","i","j"]\'', "models cars"),
        ("UPDATE models SET anchor = 3", "anchor"),
        ("DELETE FROM aliases", "aliases cars/live"),
        ("UPDATE versions SET forgotten = '[1]'", "forgotten"),
        ("UPDATE audit_events SET leaf = REPLACE(leaf, 'tester', 'nobody')", "altered"),
        ("UPDATE audit_events SET kind = 'model.registered'", "altered"),
    ],
)
def test_looking_finds_what_is_live_changed(
    ledger: Ledger, look: Callable[[Ledger], object], change: str, named: str
) -> None:
    look(ledger)
    with ledger.database.engine.begin() as connection:
        if ledger.database.engine.dialect.name == "sqlite":
            triggers = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars()
            for name in triggers.all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            connection.execute(text("SET session_replication_role = replica"))
        connection.execute(text(change))
    with pytest.raises(IntegrityError, match=named) as found:
        look(ledger)
    assert isinstance(found.value, RowError | AuditError)


def test_a_long_list_is_shown_in_parts_and_says_how_much_is_left(ledger: Ledger, tmp_path: Path) -> None:
    enqueue(ledger, "cars", some(250))
    run = Cli(tmp_path / "ledger")
    first = run("request", "list")
    assert len(first.out.splitlines()) == 101
    assert "150 more: --after 100" in first.err
    second = run("request", "list", "--after", "100", "--state", "queued", "cars")
    assert second.out.splitlines()[1].split()[0] == "101"
    assert "50 more: --after 200" in second.err
    assert "more" not in run("request", "list", "--after", "150").err
    assert "249 more" in run("request", "list", "--limit", "1").err
    assert "more" not in run("request", "list", "--limit", "250").err
    assert run("request", "list", "--after", "250").err == ""
    assert len(run.json("request", "list")["items"]) == 250
    assert "230 more" in run("request", "list", "--limit", "20", "--json").err
