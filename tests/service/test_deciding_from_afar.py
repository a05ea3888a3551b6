"""Decisions of people who look at a page: about what they saw, by a second person if need be, and more time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from ledger.config import create_config
from ledger.domain.access_policy import AccessPolicy
from ledger.domain.events.requests import RequestExtended
from ledger.domain.requests import NewRequest
from ledger.domain.states import OPEN_STATES, Action, RequestState
from ledger.errors import ForbiddenError, PreconditionError, TransitionError, UsageError
from ledger.service.audit.replay import differences
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.progress import Silent
from ledger.service.requests.claims import claim_next
from ledger.service.requests.decisions import decide
from ledger.service.requests.extension import extend_due
from ledger.service.requests.filing import enqueue
from ledger.service.requests.leases import break_lease
from ledger.service.requests.listing import request_history, show_request
from ledger.service.requests.withdrawal import withdraw
from tests.ledgers.stand_in import register_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ledger.domain.requests import Request

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def ledger(database_url: str, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with a model of four classes and request 1, filed for class 0."""
    opened = create_ledger(create_config(tmp_path / "ledger", database_url, "objects"), "ada", clock=lambda: START)
    register_stand_in(opened, "cars", ("cat", "dog", "owl", "fox"), b"weights", at=opened.clock())
    enqueue(opened, "cars", [NewRequest(frozenset({0}), "ada")])
    yield opened
    opened.close()


def seen(ledger: Ledger) -> Request:
    """Return request 1 as it is now."""
    return show_request(ledger, 1)[1]


# -- what somebody looked at --------------------------------------------------------------------------


def held(ledger: Ledger, expected: str) -> Request:
    return decide(ledger, 1, Action.HOLD, "", expected=expected)


def extended(ledger: Ledger, expected: str) -> Request:
    return extend_due(ledger, 1, START + timedelta(days=90), "complex", expected=expected)


@pytest.mark.parametrize("act", [held, extended])
def test_a_decision_is_about_what_was_seen(ledger: Ledger, act: Callable[[Ledger, str], Request]) -> None:
    before = seen(ledger)
    extend_due(ledger, 1, START + timedelta(days=60), "somebody was faster")
    with pytest.raises(PreconditionError, match="changed since you looked at it") as refused:
        act(ledger, before.revision)
    now = seen(ledger)
    assert (refused.value.exit_code, refused.value.current) == (4, now.revision)
    assert act(ledger, now.revision).revision != now.revision
    assert seen(ledger).revision not in {before.revision, now.revision}


def test_a_worker_may_be_faster_too(ledger: Ledger) -> None:
    before = seen(ledger)
    assert claim_next(ledger, "worker") is not None
    with pytest.raises(PreconditionError, match="it is running now"):
        break_lease(ledger, 1, "stuck", expected=before.revision)
    running = seen(ledger)
    # A heartbeat is nothing that a person would want to know of.
    with ledger.database.touch() as tx:
        lease = tx.requests.leases()[0]
        tx.workers.seen(lease.owner, None, started_at=START)
    assert seen(ledger).revision == running.revision
    assert break_lease(ledger, 1, "stuck", expected=running.revision).state is RequestState.QUEUED


def test_a_withdrawal_is_about_what_was_seen(ledger: Ledger) -> None:
    with pytest.raises(PreconditionError):
        withdraw(ledger, 1, "", Silent(), expected="0" * 16)


def test_without_a_revision_the_request_is_taken_as_it_is(ledger: Ledger) -> None:
    assert decide(ledger, 1, Action.HOLD, "").state is RequestState.ON_HOLD


# -- two people ---------------------------------------------------------------------------------------


def two_people(ledger: Ledger) -> None:
    ledger.config = replace(ledger.config, access=AccessPolicy(four_eyes=True))


def test_where_two_people_are_asked_for_every_request_waits_for_the_second(ledger: Ledger) -> None:
    two_people(ledger)
    [receipt] = enqueue(ledger, "cars", [NewRequest(frozenset({1}), "ada")])
    assert receipt.request.state is RequestState.AWAITING_APPROVAL
    with pytest.raises(ForbiddenError, match="was filed by ada, who may not approve it") as refused:
        decide(ledger, 2, Action.APPROVE, "fine with me")
    assert refused.value.exit_code == 7
    assert show_request(ledger, 2)[1] == receipt.request
    ledger.actor = "grace"
    assert decide(ledger, 2, Action.APPROVE, "agreed").state is RequestState.QUEUED


def test_one_person_may_stop_what_they_filed(ledger: Ledger) -> None:
    two_people(ledger)
    enqueue(ledger, "cars", [NewRequest(frozenset({1}), "ada")])
    assert decide(ledger, 2, Action.CANCEL, "a mistake").state is RequestState.CANCELLED


def test_elsewhere_one_person_is_enough(ledger: Ledger) -> None:
    enqueue(ledger, "cars", [NewRequest(frozenset({1}), "ada")], approval=True)
    assert decide(ledger, 2, Action.APPROVE, "").state is RequestState.QUEUED


# -- more time ----------------------------------------------------------------------------------------


def test_more_time_moves_the_due_date_and_nothing_else(ledger: Ledger) -> None:
    before, due = seen(ledger), START + timedelta(days=90)
    after = extend_due(ledger, 1, due, "a complex request, article 12(3)")
    assert after == replace(before, due_at=due) == seen(ledger)
    *_, entry = request_history(ledger, 1).events
    assert entry.payload == RequestExtended(
        state=RequestState.QUEUED, previous=RequestState.QUEUED, due_at=due, was_due_at=before.due_at
    )
    assert entry.note == "a complex request, article 12(3)"
    assert differences(ledger) == []
    with ledger.database.read() as tx:
        assert tx.audit.verify().size == entry.seq


def test_more_time_takes_a_request_from_no_worker(ledger: Ledger) -> None:
    claim = claim_next(ledger, "worker")
    assert claim is not None
    after = extend_due(ledger, 1, START + timedelta(days=90), "it takes long")
    assert (after.state, after.lease_owner, after.lease_epoch) == (RequestState.RUNNING, "worker", 1)
    assert differences(ledger) == []
    with ledger.database.write() as tx:
        tx.requests.extend(claim)
    assert break_lease(ledger, 1, "enough").due_at == START + timedelta(days=90)
    assert differences(ledger) == []


@pytest.mark.parametrize("days", [-1, 0, 10])
def test_less_time_is_refused(ledger: Ledger, days: int) -> None:
    before = seen(ledger)
    with pytest.raises(UsageError, match=r"is due on .* already"):
        extend_due(ledger, 1, START + timedelta(days=days), "soon")
    assert seen(ledger) == before


@pytest.mark.parametrize("offset", [-14, 0, 14])
def test_time_without_end_is_refused(ledger: Ledger, offset: int) -> None:
    before, zone = seen(ledger), timezone(timedelta(hours=offset))
    with pytest.raises(UsageError, match="is not between 1900 and 9998"):
        extend_due(ledger, 1, datetime(9999, 12, 31, 23, 59, 59, tzinfo=zone), "for ever")
    assert seen(ledger) == before


def test_more_time_takes_a_reason(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="takes a reason"):
        extend_due(ledger, 1, START + timedelta(days=90), "  ")


def test_what_is_closed_needs_no_time(ledger: Ledger) -> None:
    closed = decide(ledger, 1, Action.DENY, "not ours")
    assert closed.state not in OPEN_STATES
    with pytest.raises(TransitionError, match="it cannot extend from there"):
        extend_due(ledger, 1, START + timedelta(days=90), "why not")
    with pytest.raises(UsageError, match="no decision of this kind"):
        decide(ledger, 1, Action.EXTEND, "")
