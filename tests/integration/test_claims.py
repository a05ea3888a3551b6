"""The queue: who may claim what, and what a worker that lost its lease cannot do."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from ledger.domain.models import Model, NewModel
from ledger.domain.requests import Request
from ledger.domain.states import Action, RequestState
from ledger.errors import LeaseLostError
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import upgrade_schema
from ledger.store.repositories.requests import Claim
from ledger.store.unit_of_work import Database
from tests.fixtures.events import any_event

FileRequest = Callable[..., Request]

HOUR = 3600.0
WHEN = datetime(2025, 3, 31, 12, 30, tzinfo=UTC)


@pytest.fixture
def model(database: Database, new_model: Callable[..., NewModel]) -> Model:
    with database.write() as tx:
        return tx.models.add(new_model())


@pytest.fixture
def other_model(database: Database, new_model: Callable[..., NewModel]) -> Model:
    with database.write() as tx:
        return tx.models.add(new_model("bikes"))


class OnlyLookedError(Exception):
    """Ends a transaction that was only a look."""


def claimable(database: Database, model: Model | None = None) -> list[int]:
    """Return what workers would be given now, one after another, and give them nothing."""
    numbers: list[int] = []
    with suppress(OnlyLookedError), database.write() as tx:
        while (held := tx.requests.claim(owner="onlooker", ttl=HOUR, at=WHEN, model=model)) is not None:
            numbers.append(held.request.id)
        raise OnlyLookedError
    return numbers


def claim(
    database: Database,
    number: int,
    *,
    owner: str = "worker-1",
    ttl: float = HOUR,
    model: Model | None = None,
) -> Claim:
    """Claim what is offered, which must be this request."""
    with database.write() as tx:
        held = tx.requests.claim(owner=owner, ttl=ttl, at=WHEN, model=model)
    assert held is not None
    assert held.request.id == number
    return held


def expire(database: Database, number: int) -> None:
    """Let two hours of a lease pass, as if its worker had stopped."""
    with database.engine.begin() as connection:
        connection.execute(text(f"UPDATE requests SET lease_expires = lease_expires - 7200 WHERE id = {number}"))


def test_the_oldest_queued_request_of_each_model_is_offered(
    database: Database, model: Model, other_model: Model, file_request: FileRequest
) -> None:
    assert claimable(database) == []
    with database.write() as tx:
        for each, state in [
            (model, "on_hold"),
            (model, "queued"),
            (other_model, "queued"),
            (model, "queued"),
            (other_model, "denied"),
        ]:
            file_request(tx, each, state=state)
    assert claimable(database) == [2, 3]
    assert claimable(database, model) == [2]
    assert claimable(database, other_model) == [3]


def test_a_model_under_a_live_lease_offers_nothing(
    database: Database, model: Model, other_model: Model, file_request: FileRequest
) -> None:
    with database.write() as tx:
        for each in (model, model, other_model):
            file_request(tx, each)
    claim(database, 1)
    assert claimable(database) == [3]
    assert claimable(database, model) == []
    claim(database, 3)
    assert claimable(database) == []
    with database.read() as tx:
        assert tx.requests.leased() == {model.id, other_model.id}


def test_a_request_whose_lease_expired_is_offered_before_the_queue(
    database: Database, model: Model, file_request: FileRequest
) -> None:
    with database.write() as tx:
        for _ in range(3):
            file_request(tx, model)
        tx.requests.act(1, Action.HOLD, at=WHEN)
    claim(database, 2)
    with database.write() as tx:
        tx.requests.act(1, Action.RELEASE, at=WHEN)
    assert claimable(database) == []
    expire(database, 2)
    # The first one came back meanwhile; it does not overtake what has begun.
    assert claimable(database) == [2]
    with database.read() as tx:
        assert tx.requests.leased() == set()


def test_a_claim_records_owner_epoch_and_attempt(database: Database, model: Model, file_request: FileRequest) -> None:
    with database.write() as tx:
        file_request(tx, model)
    held = claim(database, 1, owner="worker-7", ttl=9)
    assert (held.owner, held.epoch, held.ttl) == ("worker-7", 1, 9)
    with database.read() as tx:
        request = tx.requests.get(1)
    assert request == held.request
    assert (request.state, request.lease_owner, request.lease_epoch, request.attempts, request.updated_at) == (
        RequestState.RUNNING,
        "worker-7",
        1,
        1,
        WHEN,
    )


def test_an_epoch_is_never_given_twice_not_even_to_the_same_worker(
    database: Database, model: Model, file_request: FileRequest
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    first = claim(database, 1, owner="same-name")
    expire(database, 1)
    second = claim(database, 1, owner="same-name")
    assert (first.epoch, second.epoch, second.request.attempts) == (1, 2, 2)
    with pytest.raises(LeaseLostError), database.write() as tx:
        tx.requests.finish(first, Action.FULFIL, at=WHEN)
    # Neither a return to the queue nor a person's retry gives an old epoch new force.
    with database.write() as tx:
        tx.requests.finish(second, Action.INTERRUPT, at=WHEN)
    assert claim(database, 1).epoch == 3


def test_a_claim_sees_what_its_own_transaction_did_before(
    database: Database, model: Model, file_request: FileRequest
) -> None:
    with database.write() as tx:
        filed = file_request(tx, model)
        held = tx.requests.claim(owner="worker-1", ttl=HOUR, at=WHEN)
        assert held is not None
        assert tx.requests.get(filed.id) == held.request
        assert tx.requests.claim(owner="worker-2", ttl=HOUR, at=WHEN) is None


@pytest.mark.parametrize("state", sorted(set(RequestState) - {RequestState.QUEUED, RequestState.RUNNING}))
def test_only_what_is_queued_is_offered(
    database: Database, model: Model, file_request: FileRequest, state: RequestState
) -> None:
    with database.write() as tx:
        filed = file_request(tx, model, state=state.value)
    assert claimable(database) == []
    with database.read() as tx:
        assert tx.requests.get(1) == filed


@pytest.mark.parametrize(
    ("action", "state"),
    [
        (Action.FULFIL, RequestState.FULFILLED),
        (Action.FAIL, RequestState.FAILED),
        (Action.BLOCK, RequestState.BLOCKED),
        (Action.INTERRUPT, RequestState.QUEUED),
        (Action.QUARANTINE, RequestState.QUARANTINED),
    ],
)
def test_a_held_claim_can_be_finished_once(
    database: Database, model: Model, file_request: FileRequest, action: Action, state: RequestState
) -> None:
    with database.write() as tx:
        file_request(tx, model)
        file_request(tx, model)
    held = claim(database, 1)
    with database.write() as tx:
        done = tx.requests.finish(held, action, at=WHEN, outcome="said so")
    assert (done.state, done.outcome, done.lease_owner, done.lease_epoch) == (state, "said so", None, 1)
    assert claimable(database) == [1 if state is RequestState.QUEUED else 2]
    with pytest.raises(LeaseLostError, match="the lease on request 1 was lost"), database.write() as tx:
        tx.requests.finish(held, action, at=WHEN)


def test_an_expired_lease_can_neither_finish_nor_be_extended(
    database: Database, model: Model, file_request: FileRequest
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    held = claim(database, 1)
    expire(database, 1)
    with pytest.raises(LeaseLostError), database.write() as tx:
        tx.requests.finish(held, Action.FULFIL, at=WHEN)
    with pytest.raises(LeaseLostError), database.touch() as tx:
        tx.requests.extend(held)
    with database.read() as tx:
        assert tx.requests.get(1) == held.request


def test_a_worker_whose_request_was_claimed_again_cannot_finish_it(
    database: Database, model: Model, file_request: FileRequest
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    stale = claim(database, 1)
    expire(database, 1)
    current = claim(database, 1, owner="worker-2")
    for lost in (stale, replace(current, epoch=stale.epoch), replace(current, owner="worker-1")):
        with pytest.raises(LeaseLostError), database.write() as tx:
            tx.requests.finish(lost, Action.FULFIL, at=WHEN)
        with pytest.raises(LeaseLostError), database.touch() as tx:
            tx.requests.extend(lost)
    with database.write() as tx:
        assert tx.requests.finish(current, Action.FULFIL, at=WHEN).attempts == 2


def test_nothing_of_a_commit_without_a_lease_is_kept(
    database: Database, model: Model, file_request: FileRequest
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    held = claim(database, 1)
    expire(database, 1)
    with pytest.raises(LeaseLostError), database.write() as tx:  # noqa: PT012 - the whole block is what is undone
        tx.objects.add("a" * 64, 1, "weights", at=WHEN)
        tx.audit.append(any_event("request.fulfilled"), at=WHEN, actor="worker-1", request_id=1)
        tx.requests.finish(held, Action.FULFIL, at=WHEN)
    with database.read() as tx:
        assert tx.objects.kept() == []
        assert len(list(tx.audit.entries())) == 0


def test_a_heartbeat_prolongs_a_lease(database: Database, model: Model, file_request: FileRequest) -> None:
    with database.write() as tx:
        file_request(tx, model)
    held = claim(database, 1)
    with database.touch() as tx:
        tx.requests.extend(replace(held, ttl=4 * HOUR))
    expire(database, 1)
    assert claimable(database) == []
    with database.write() as tx:
        assert tx.requests.finish(held, Action.FULFIL, at=WHEN).state is RequestState.FULFILLED


@pytest.mark.postgres
def test_a_heartbeat_waits_for_no_writer(
    postgres_url: str, new_model: Callable[..., NewModel], file_request: FileRequest
) -> None:
    database = Database(open_engine(postgres_url))
    upgrade_schema(database.engine)
    with database.write() as tx:
        file_request(tx, tx.models.add(new_model()))
    held = claim(database, 1)
    with database.write() as busy:
        busy.audit.append(any_event("something.long"), at=WHEN, actor="somebody")
        with database.touch() as tx:
            tx.requests.extend(held)
    database.close()


def test_a_lease_runs_out_on_the_databases_own_clock(
    database: Database, model: Model, file_request: FileRequest
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    claim(database, 1, ttl=0.05)
    time.sleep(0.1)
    assert claimable(database) == [1]


def test_a_request_that_lost_its_last_attempt_is_set_aside(
    database: Database, model: Model, other_model: Model, file_request: FileRequest
) -> None:
    with database.write() as tx:
        for each in (model, model, other_model):
            file_request(tx, each, attempts=1)
    claim(database, 1)
    claim(database, 3)
    with database.write() as tx:
        assert tx.requests.quarantine_vanished(attempts=2, at=WHEN) == []
    for number in (1, 3):
        expire(database, number)
    with database.write() as tx:
        assert tx.requests.quarantine_vanished(attempts=3, at=WHEN) == []
        [gone] = tx.requests.quarantine_vanished(attempts=2, at=WHEN, model=model)
    assert (gone.id, gone.state, gone.outcome) == (1, RequestState.QUARANTINED, "its worker vanished 2 times")
    # What waited behind it comes next; the other model's was not asked about.
    assert claimable(database) == [2, 3]


def test_a_last_attempt_whose_lease_ran_out_just_now_is_not_followed_by_another(
    database: Database, model: Model, file_request: FileRequest
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    claim(database, 1, ttl=0.3)
    with database.write() as tx:
        # The clock moves on within a transaction: between the look at who vanished and the claim, too.
        assert tx.requests.quarantine_vanished(attempts=1, at=WHEN) == []
        time.sleep(0.4)
        assert tx.requests.claim(owner="next", ttl=HOUR, at=WHEN, attempts=1) is None
        again = tx.requests.claim(owner="next", ttl=HOUR, at=WHEN, attempts=2)
    assert again is not None
    assert again.request.attempts == 2


# -- presence -----------------------------------------------------------------------------------------


def test_workers_are_listed_until_they_leave(database: Database) -> None:
    with database.touch() as tx:
        tx.workers.seen("first", "cars", started_at=WHEN)
    with database.touch() as tx:
        tx.workers.seen("second", None, started_at=WHEN)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE workers SET last_seen = last_seen - 100"))
    with database.touch() as tx:
        tx.workers.seen("first", "cars", started_at=WHEN)
    with database.read() as tx:
        first, second = tx.workers.all()
    assert (first.owner, first.model, first.started_at) == ("first", "cars", WHEN)
    assert first.idle < 50
    assert (second.owner, second.model) == ("second", None)
    assert 100 <= second.idle < 150
    with database.touch() as tx:
        tx.workers.gone("first")
    with database.read() as tx:
        assert [worker.owner for worker in tx.workers.all()] == ["second"]


def test_who_left_without_a_word_is_forgotten_after_a_day(database: Database) -> None:
    for owner in ("crashed", "leaving"):
        with database.touch() as tx:
            tx.workers.seen(owner, None, started_at=WHEN)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE workers SET last_seen = last_seen - 90000 WHERE owner = 'crashed'"))
    with database.touch() as tx:
        tx.workers.gone("leaving")
    with database.read() as tx:
        assert tx.workers.all() == []
