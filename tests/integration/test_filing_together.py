"""Several callers who file at the same time: one transaction, and each answered as if they came alone."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from ledger.config import create_config
from ledger.domain.requests import NewRequest
from ledger.domain.states import RequestState
from ledger.errors import BusyError, IdempotencyConflictError, LedgerError, RowError, TooFewRetainedError, UsageError
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.requests.filing import FEW, enqueue
from ledger.service.requests.filing_together import Filed, FilingCall, enqueue_together
from ledger.service.requests.listing import list_requests
from ledger.store.audit.log import AuditLog
from tests.ledgers.stand_in import register_stand_in

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
LABELS = tuple(f"class {k}" for k in range(10))


@pytest.fixture
def ledger(tmp_path: Path, database_url: str) -> Iterator[Ledger]:
    """A ledger with two models of ten classes, on each supported database."""
    opened = create_ledger(create_config(tmp_path / "ledger", database_url, "objects"), "tester", clock=lambda: NOW)
    register_stand_in(opened, "cars", LABELS, b"weights", at=NOW)
    register_stand_in(opened, "birds", LABELS, b"feathers", at=NOW)
    yield opened
    opened.close()


def call(
    *classes: int, actor: str = "alice", key: str | None = None, own: str | None = None, **said: Any
) -> FilingCall:
    """Return what one caller asks for: a request for each class."""
    new = [NewRequest(frozenset({one}), actor, reason="asked to", idempotency_key=own) for one in classes]
    return FilingCall(said.pop("model", "cars"), new, key=key, **said)


def told(outcome: Filed) -> list[tuple[int, bool]]:
    """Return the numbers that a caller was given, and whether each was filed before."""
    assert not isinstance(outcome, LedgerError), outcome
    return [(receipt.request.id, receipt.repeated) for receipt in outcome]


def test_all_are_filed_in_one_transaction_each_in_its_own_name(ledger: Ledger) -> None:
    enqueue(ledger, "cars", call(0).requests)
    begun: list[str] = []
    event.listen(ledger.database.engine, "commit", lambda _connection: begun.append("commit"))
    calls = [call(1, 2), call(3, actor="bob", approval=True), call(4, model="birds"), call(5, actor="eve")]
    outcomes = enqueue_together(ledger, calls)
    assert len(begun) == 1
    assert [told(one) for one in outcomes] == [[(2, False), (3, False)], [(4, False)], [(6, False)], [(5, False)]]
    found = {request.id: (model.name, request.actor, request.state) for model, request in list_requests(ledger)}
    assert found[2] == ("cars", "alice", RequestState.QUEUED)
    assert found[4] == ("cars", "bob", RequestState.AWAITING_APPROVAL)
    assert found[5] == ("cars", "eve", RequestState.QUEUED)
    assert found[6] == ("birds", "alice", RequestState.QUEUED)
    with ledger.database.read() as tx:
        tx.audit.verify()
        tx.trusted.requests("cars")
        tx.trusted.requests("birds")


def test_one_that_is_refused_leaves_no_trace_and_the_others_alone(ledger: Ledger) -> None:
    calls = [
        call(0, 1, 2, 3),
        # Its first request fits, its others do not: with it, nothing of it may count.
        call(4, 5, 6, 7, 8, 9, own=None),
        call(8, own="mine"),
        FilingCall("cars", [NewRequest(frozenset(), "alice")]),
        call(8, own="mine", actor="bob"),
        call(7, own="mine"),
    ]
    good, many, keyed, empty, again, other = enqueue_together(ledger, calls)
    assert told(good) == [(1, False), (2, False), (3, False), (4, False)]
    assert isinstance(many, TooFewRetainedError)
    assert told(keyed) == [(5, False)]
    assert isinstance(empty, UsageError)
    assert told(again) == [(5, True)]
    assert isinstance(other, IdempotencyConflictError)
    assert len(list_requests(ledger)) == 5


def test_a_key_of_a_whole_call_stands_for_it_beside_others_too(ledger: Ledger) -> None:
    first, again, longer, approved = enqueue_together(
        ledger, [call(1, 2, key="k"), call(1, 2, key="k"), call(1, 2, 3, key="k"), call(1, 2, key="k", approval=True)]
    )
    assert told(first) == [(1, False), (2, False)]
    assert told(again) == [(1, True), (2, True)]
    assert isinstance(longer, IdempotencyConflictError)
    assert isinstance(approved, IdempotencyConflictError)
    assert len(list_requests(ledger)) == 2


def test_many_requests_of_one_caller_are_filed_apart(ledger: Ledger) -> None:
    many, few = call(*[n % 7 for n in range(FEW + 1)]), call(1)
    first, second = enqueue_together(ledger, [many, few])
    assert len(told(first)) == FEW + 1
    assert len(told(second)) == 1


def test_what_is_wrong_in_the_database_is_told_to_those_whom_it_concerns(ledger: Ledger) -> None:
    enqueue(ledger, "cars", call(1, own="old").requests)
    with ledger.database.engine.begin() as connection:
        connection.execute(text("UPDATE requests SET reason = 'another' WHERE id = 1"))
    sound, changed = enqueue_together(ledger, [call(2), call(1, own="old")])
    assert told(sound) == [(2, False)]
    assert isinstance(changed, RowError)


def test_a_busy_database_files_nothing_twice(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    append, tries = AuditLog.append_all, iter(range(100))

    def busy_once(self: AuditLog, entries: Any) -> int:
        seq = append(self, entries)
        if next(tries) == 0:
            raise BusyError("busy")
        return seq

    monkeypatch.setattr(AuditLog, "append_all", busy_once)
    assert [told(one) for one in enqueue_together(ledger, [call(1), call(2)])] == [[(1, False)], [(2, False)]]
    assert len(list_requests(ledger)) == 2
