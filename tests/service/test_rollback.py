"""Going back by going forward: exact bytes, and nobody's request is undone unseen."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ledger.domain.events.event import Event
from ledger.domain.requests import NewRequest
from ledger.domain.states import Action, RequestState
from ledger.domain.versions import VersionKind
from ledger.errors import ConflictError, NotFoundError, ObjectError, RowError
from ledger.service.requests.filing import enqueue
from ledger.service.versions.model_history import read_model_history
from ledger.service.versions.rollback import plan_rollback, roll_back
from ledger.store.audit.log import AuditLog
from ledger.store.repositories.versions import Versions

if TYPE_CHECKING:
    from tests.ledgers.desk import Desk

MODEL = "digits"


def test_a_rollback_is_a_new_version_with_the_old_bytes(two_forgotten: Desk) -> None:
    old = two_forgotten.versions()[1]
    version = two_forgotten.roll_back(1)
    assert (version.number, version.parent, version.kind, version.restores) == (3, 2, VersionKind.ROLLBACK, 1)
    assert (version.weights, version.forgotten, version.recipe) == (old.weights, old.forgotten, old.recipe)
    assert two_forgotten.live() == version
    assert [v.number for v in two_forgotten.versions()] == [0, 1, 2, 3]
    assert two_forgotten.test_accuracy()[7] == two_forgotten.test_accuracy(0)[7] > 0.9
    with two_forgotten.ledger.database.read() as tx:
        assert tx.versions.basis(version) == tx.versions.basis(old)


def test_what_it_undoes_is_reopened_with_its_due_date(two_forgotten: Desk) -> None:
    due = two_forgotten.request(2).due_at
    two_forgotten.later(days=10)
    plan = plan_rollback(two_forgotten.ledger, MODEL, 1)
    assert [request.id for request in plan.reopened] == [2]
    assert plan.days_left(plan.reopened[0]) == 21
    version = roll_back(two_forgotten.ledger, plan, "second thoughts")

    first, second = two_forgotten.request(1), two_forgotten.request(2)
    assert (first.state, first.version) == (RequestState.FULFILLED, 1)
    assert (second.state, second.version, second.due_at) == (RequestState.REOPENED, None, due)
    assert "rollback to version 1" in second.outcome
    [moved] = two_forgotten.events("model.rolled_back")
    assert moved.data == {"version": version.number, "restores": 1, "reopened": [2]}
    assert moved.note == "second thoughts"
    [reopened] = two_forgotten.events("request.reopened")
    assert (reopened.request_id, reopened.data["due_at"]) == (2, due.isoformat())

    two_forgotten.retry(2)
    assert two_forgotten.request(2).due_at == due


def test_a_reopened_request_may_be_denied_or_withdrawn_instead(two_forgotten: Desk) -> None:
    two_forgotten.roll_back(0)
    assert two_forgotten.decide(1, Action.DENY).state is RequestState.DENIED
    assert two_forgotten.withdraw(2) is None
    assert two_forgotten.state(2) is RequestState.WITHDRAWN
    assert two_forgotten.live().number == 3
    assert two_forgotten.work() == []


def test_looking_changes_nothing(two_forgotten: Desk) -> None:
    with two_forgotten.unchanged():
        plan_rollback(two_forgotten.ledger, MODEL, 0)


@pytest.mark.parametrize(
    "point", ["the version", "the alias", "the first request", "its event", "the last request's event"]
)
def test_everything_or_nothing(two_forgotten: Desk, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    plan = plan_rollback(two_forgotten.ledger, MODEL, 0)
    append, reopened = AuditLog.append, 0

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the machine stopped here")

    def failing_append(log: AuditLog, event: Event, **values: Any) -> int:
        nonlocal reopened
        reopened += event.kind == "request.reopened"
        if (event.kind == "request.reopened" and point == "its event") or (
            reopened == 2 and point.startswith("the last")
        ):
            fail()
        return append(log, event, **values)

    if point == "the version":
        monkeypatch.setattr(Versions, "add", fail)
    elif point == "the alias":
        monkeypatch.setattr(Versions, "move_live", fail)
    elif point == "the first request":
        monkeypatch.setattr("ledger.store.repositories.requests.Requests.act", fail)
    else:
        monkeypatch.setattr(AuditLog, "append", failing_append)
    with two_forgotten.unchanged(), pytest.raises(RuntimeError, match="stopped here"):
        roll_back(two_forgotten.ledger, plan, "")
    monkeypatch.undo()
    assert roll_back(two_forgotten.ledger, plan, "").number == 3


def test_a_plan_that_somebody_overtook_is_refused(two_forgotten: Desk) -> None:
    plan = plan_rollback(two_forgotten.ledger, MODEL, 0)
    two_forgotten.withdraw(1)
    with two_forgotten.unchanged(), pytest.raises(ConflictError, match="changed since"):
        roll_back(two_forgotten.ledger, plan, "")


def test_a_plan_is_stale_too_when_another_request_would_be_reopened(two_forgotten: Desk) -> None:
    plan = plan_rollback(two_forgotten.ledger, MODEL, 0)
    # A receipt for a class already forgotten makes no version, but whoever confirmed the plan did not see it.
    enqueue(two_forgotten.ledger, MODEL, [NewRequest(frozenset({3}), "tester")])
    with two_forgotten.unchanged(), pytest.raises(ConflictError, match="changed since"):
        roll_back(two_forgotten.ledger, plan, "")


@pytest.mark.parametrize("number", [2, 4])
def test_equal_weights_are_nowhere_to_go_back_to(two_forgotten: Desk, number: int) -> None:
    two_forgotten.roll_back(1)
    two_forgotten.retry(2)
    with two_forgotten.unchanged(), pytest.raises(ConflictError, match="same weights as version 4"):
        plan_rollback(two_forgotten.ledger, MODEL, number)


def test_there_must_be_such_a_version(two_forgotten: Desk) -> None:
    with two_forgotten.unchanged(), pytest.raises(NotFoundError):
        plan_rollback(two_forgotten.ledger, MODEL, 3)


def test_altered_bytes_are_never_made_live_again(two_forgotten: Desk) -> None:
    weights = two_forgotten.versions()[1].weights
    path = two_forgotten.root / "objects" / weights[:2] / weights[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with two_forgotten.unchanged(), pytest.raises(ObjectError, match="altered"):
        plan_rollback(two_forgotten.ledger, MODEL, 1)


def test_content_decides_what_is_reopened_and_not_time(two_forgotten: Desk) -> None:
    """The example of ADR 2, and a receipt filed late for a class forgotten early."""
    two_forgotten.roll_back(1)
    two_forgotten.retry(2)
    third = two_forgotten.forget(0)
    receipt = two_forgotten.file(3)
    assert (receipt.no_op, receipt.version, third.number) == (True, 5, 5)
    # Request 2 was fulfilled by version 4, and the receipt by version 5; yet version 2 fulfils both.
    assert two_forgotten.request(2).version == 4
    plan = plan_rollback(two_forgotten.ledger, MODEL, 2)
    assert [request.id for request in plan.reopened] == [3]
    roll_back(two_forgotten.ledger, plan, "")
    assert [two_forgotten.state(n).value for n in (1, 2, 3, 4)] == ["fulfilled", "fulfilled", "reopened", "fulfilled"]
    assert two_forgotten.live().forgotten == {3, 7}


def test_going_back_to_a_version_that_forgot_more_reopens_nothing(two_forgotten: Desk) -> None:
    two_forgotten.withdraw(2)
    plan = plan_rollback(two_forgotten.ledger, MODEL, 2)
    assert plan.reopened == ()
    version = roll_back(two_forgotten.ledger, plan, "")
    assert version.forgotten == {3, 7}
    # Nobody asks for 7 any more, yet only a request may bring it back: withdrawing the other one does not.
    withdrawn = two_forgotten.withdraw(1)
    assert withdrawn is not None
    assert withdrawn.forgotten == {7}


def test_what_was_live_when_is_answered_across_a_rollback(two_forgotten: Desk) -> None:
    start = two_forgotten.now
    two_forgotten.later(days=1)
    two_forgotten.roll_back(0)
    two_forgotten.later(days=1)
    two_forgotten.retry(2)
    known = read_model_history(two_forgotten.ledger, MODEL)
    assert known.live_at(start - timedelta(seconds=1)) is None
    assert known.live_at(start) == 2
    assert known.live_at(start + timedelta(days=1, seconds=-1)) == 2
    assert known.live_at(start + timedelta(days=1)) == 3
    assert known.live_at(start + timedelta(days=99)) == 4 == known.live.number
    assert [(m.previous, m.version) for m in known.moves] == [(None, 0), (0, 1), (1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize(
    "change", ["classes = '[5]'", "state = 'denied'", "due_at = '2031-01-01 00:00:00.000000'"], ids=str
)
def test_what_it_would_reopen_is_compared_with_the_log_before_it_is_shown(two_forgotten: Desk, change: str) -> None:
    alter(two_forgotten, change, 2)
    with pytest.raises(RowError, match=r"request.* 2"):
        plan_rollback(two_forgotten.ledger, MODEL, 1)


def test_a_request_that_only_its_row_calls_fulfilled_is_not_shown(two_forgotten: Desk) -> None:
    waiting = two_forgotten.file(1).id
    alter(two_forgotten, "state = 'fulfilled'", waiting)
    with pytest.raises(RowError, match=f"request.* {waiting}"):
        plan_rollback(two_forgotten.ledger, MODEL, 1)


def test_nothing_is_rolled_back_while_any_request_of_the_model_is_not_what_the_log_says(two_forgotten: Desk) -> None:
    waiting = two_forgotten.file(1).id
    alter(two_forgotten, "classes = '[5]'", waiting)
    plan = plan_rollback(two_forgotten.ledger, MODEL, 1)
    with two_forgotten.unchanged(), pytest.raises(RowError, match=f"request.* {waiting}"):
        roll_back(two_forgotten.ledger, plan, "second thoughts")


def alter(desk: Desk, change: str, number: int) -> None:
    """Change the row of a request behind the audit log."""
    with desk.ledger.database.write() as tx:
        tx.audit._session.execute(text(f"UPDATE requests SET {change} WHERE id = {number}"))
