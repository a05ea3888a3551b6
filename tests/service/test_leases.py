"""Leases that stand in the way, on both databases: named, broken on request, and of no use to who held them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ledger.config import create_config
from ledger.domain.events.requests import RequestInterrupted, RequestReleased
from ledger.domain.requests import NewRequest
from ledger.domain.states import Action, RequestState
from ledger.errors import LeaseHeldError, LeaseLostError, TransitionError
from ledger.service.audit.replay import differences
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.requests.claim_end import ClaimEnd
from ledger.service.requests.claims import LEASE_SECONDS, claim_next
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.service.requests.heartbeat import LeaseHeartbeat
from ledger.service.requests.leases import break_lease, give_back, require_no_lease, show_lease
from ledger.service.requests.status import status
from ledger.service.upkeep.doctor import doctor
from tests.ledgers.stand_in import register_stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ledger.store.repositories.requests import Claim

HOUR = 3600


@pytest.fixture
def ledger(database_url: str, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with a model of three classes and one request, filed for class 0."""
    opened = create_ledger(create_config(tmp_path / "ledger", database_url, "objects"), "tester")
    register_stand_in(opened, "cars", ("cat", "dog", "owl"), b"weights", at=opened.clock())
    enqueue(opened, "cars", [NewRequest(frozenset({0}), "tester")])
    yield opened
    opened.close()


def claimed(ledger: Ledger, owner: str = "worker-1") -> Claim:
    """Claim what is offered."""
    claim = claim_next(ledger, owner)
    assert claim is not None
    return claim


def set_clock_back(ledger: Ledger, seconds: float) -> None:
    """Leave the requests as they are after the database's clock was set back: every lease lasts longer."""
    with ledger.database.engine.begin() as connection:
        connection.execute(text(f"UPDATE requests SET lease_expires = lease_expires + {seconds}"))


def test_a_request_under_a_lease_is_named_with_its_holder(ledger: Ledger) -> None:
    require_no_lease(ledger)
    claimed(ledger)
    with pytest.raises(
        LeaseHeldError, match=r"request 1 \(cars: cat\) is held by worker worker-1 until .* UTC"
    ) as held:
        require_no_lease(ledger, "cars")
    assert held.value.exit_code == 75
    assert "run unledger work again" in held.value.hint
    assert "request release 1 --force" in held.value.hint


def test_a_lease_that_ran_out_is_in_nobodys_way(ledger: Ledger) -> None:
    claimed(ledger)
    set_clock_back(ledger, -2 * HOUR)
    require_no_lease(ledger)
    assert status(ledger).leases == ()
    lease = show_lease(ledger, 1)
    assert lease is not None
    assert lease.remaining < 0


def test_a_lease_of_the_normal_length_is_not_from_the_future(ledger: Ledger) -> None:
    claimed(ledger)
    [lease] = status(ledger).leases
    assert (lease.owner, lease.epoch, lease.from_future) == ("worker-1", 1, False)
    assert 0 < lease.remaining <= LEASE_SECONDS
    assert abs((lease.expires - datetime.now(UTC)).total_seconds() - lease.remaining) < 5


@pytest.mark.parametrize("step", [HOUR, 400 * 86_400, 1e15])
def test_a_lease_from_the_future_is_named(ledger: Ledger, step: float) -> None:
    claimed(ledger)
    set_clock_back(ledger, step)
    [lease] = status(ledger).leases
    assert lease.from_future
    with pytest.raises(LeaseHeldError) as held:
        require_no_lease(ledger)
    assert "the database's clock was set back" in held.value.hint
    assert claim_next(ledger, "worker-2") is None


def test_a_refused_decision_about_a_running_request_says_what_can_be_done(ledger: Ledger) -> None:
    claimed(ledger)
    for action in (Action.CANCEL, Action.DENY, Action.HOLD, Action.RELEASE, Action.RETRY):
        with pytest.raises(TransitionError) as refused:
            decide(ledger, 1, action, "")
        assert "unledger request release 1 --force" in refused.value.hint


# -- breaking a lease ---------------------------------------------------------------------------------


def test_a_broken_lease_gives_the_request_back_and_is_recorded(ledger: Ledger) -> None:
    claimed(ledger)
    set_clock_back(ledger, HOUR)
    done = break_lease(ledger, 1, "its machine is gone")
    assert (done.state, done.lease_owner, done.lease_epoch) == (RequestState.QUEUED, None, 2)
    with ledger.database.read() as tx:
        *_, entry = tx.audit.events(request_id=1)
        tx.audit.verify()
    assert entry.payload == RequestReleased(
        previous=RequestState.RUNNING, state=RequestState.QUEUED, worker="worker-1", epoch=2
    )
    assert (entry.note, entry.actor) == ("its machine is gone", "tester")
    assert differences(ledger) == []
    # The next claim is numbered after all of that.
    assert claimed(ledger, "worker-2").epoch == 3
    assert differences(ledger) == []


def test_only_what_a_worker_holds_can_be_taken_from_it(ledger: Ledger) -> None:
    assert show_lease(ledger, 1) is None
    with pytest.raises(TransitionError):
        break_lease(ledger, 1, "no reason")


@pytest.mark.parametrize("taken", [False, True], ids=["queued again", "taken by another"])
@pytest.mark.parametrize("owner", ["worker-2", "worker-1"])
def test_a_worker_whose_lease_was_broken_can_do_nothing(ledger: Ledger, owner: str, *, taken: bool) -> None:
    zombie = claimed(ledger)
    break_lease(ledger, 1, "it looked dead")
    if taken:
        claimed(ledger, owner)
    with ledger.database.read() as tx:
        before, events = tx.requests.get(1), list(tx.audit.events())
        model = tx.models.get("cars")
        live = tx.versions.live(model)
    with pytest.raises(LeaseLostError):
        ClaimEnd(ledger, zombie).fulfil(model, live, None)
    ClaimEnd(ledger, zombie).interrupt()
    heartbeat = LeaseHeartbeat(ledger, zombie)
    heartbeat._beat()
    with pytest.raises(LeaseLostError):
        heartbeat.require_lease()
    with ledger.database.read() as tx:
        assert (tx.requests.get(1), list(tx.audit.events())) == (before, events)


def test_a_worker_gives_back_whatever_it_holds(ledger: Ledger) -> None:
    claimed(ledger, "me")
    register_stand_in(ledger, "boats", ("cat", "dog", "owl"), b"others", at=ledger.clock())
    enqueue(ledger, "boats", [NewRequest(frozenset({0}), "tester")])
    claimed(ledger, "somebody else")
    give_back(ledger, "me")
    with ledger.database.read() as tx:
        first, second = tx.requests.get(1), tx.requests.get(2)
        *_, entry = tx.audit.events(request_id=1)
    assert (first.state, first.attempts) == (RequestState.QUEUED, 0)
    assert second.state is RequestState.RUNNING
    assert isinstance(entry.payload, RequestInterrupted)


# -- the clock ----------------------------------------------------------------------------------------


def clock_check(ledger: Ledger) -> tuple[bool, str]:
    """Return what ``doctor`` says of the clock."""
    [check] = [check for check in doctor(ledger.config) if check.name == "clock"]
    return check.ok, check.detail


def test_time_that_goes_forward_gives_no_doubts(ledger: Ledger) -> None:
    assert status(ledger).clock == ()
    assert clock_check(ledger) == (True, "nothing was recorded later than now")


def test_time_that_went_back_is_noticed(ledger: Ledger) -> None:
    right = ledger.clock
    ledger.clock = lambda: right() + timedelta(hours=1)
    decide(ledger, 1, Action.HOLD, "")
    ledger.clock = right
    # Later entries do not hide it.
    decide(ledger, 1, Action.RELEASE, "")
    [doubt] = status(ledger).clock
    assert "the clock was set back, or was ahead when that was written" in doubt
    ok, detail = clock_check(ledger)
    assert not ok
    assert "the clock was set back" in detail


@pytest.mark.parametrize("away", [timedelta(hours=1), timedelta(hours=-1)], ids=["ahead", "behind"])
def test_a_machine_and_a_database_that_disagree_are_noticed(ledger: Ledger, away: timedelta) -> None:
    right = ledger.clock
    ledger.clock = lambda: right() + away
    assert "one is wrong" in status(ledger).clock[0]
