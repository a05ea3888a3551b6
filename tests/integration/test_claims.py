"""The queue: who may claim what, and what a worker that lost its lease cannot do."""

import time
from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import text

from ledger.domain.records import Model, Request
from ledger.domain.states import Action, RequestState
from ledger.errors import RetryLaterError, TransitionError
from ledger.store.requests import Claim
from ledger.store.unit_of_work import Database

FileRequest = Callable[..., Request]

HOUR = 3600.0


@pytest.fixture
def model(database: Database, new_model: Callable[..., Model]) -> Model:
    with database.write() as tx:
        return tx.models.add(new_model())


@pytest.fixture
def other_model(database: Database, new_model: Callable[..., Model]) -> Model:
    with database.write() as tx:
        return tx.models.add(new_model("bikes"))


def claimable(database: Database, model: Model | None = None) -> list[int]:
    with database.read() as tx:
        return [request.id for request in tx.requests.claimable(model)]


def claim(database: Database, number: int, when: datetime, *, owner: str = "worker-1", ttl: float = HOUR) -> Claim:
    with database.write() as tx:
        return tx.requests.claim(tx.requests.get(number), owner=owner, ttl=ttl, at=when)


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
    database: Database, model: Model, other_model: Model, file_request: FileRequest, when: datetime
) -> None:
    with database.write() as tx:
        for each in (model, model, other_model):
            file_request(tx, each)
    claim(database, 1, when)
    assert claimable(database) == [3]
    assert claimable(database, model) == []
    claim(database, 3, when)
    assert claimable(database) == []


def test_a_request_whose_lease_expired_is_offered_before_the_queue(
    database: Database, model: Model, file_request: FileRequest, when: datetime
) -> None:
    with database.write() as tx:
        for _ in range(3):
            file_request(tx, model)
    # The second one runs: a person put the first on hold and released it meanwhile.
    claim(database, 2, when)
    expire(database, 2)
    assert claimable(database) == [2]


def test_a_claim_records_owner_epoch_and_attempt(
    database: Database, model: Model, file_request: FileRequest, when: datetime
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    held = claim(database, 1, when, owner="worker-7")
    assert (held.owner, held.epoch) == ("worker-7", 1)
    with database.read() as tx:
        request = tx.requests.get(1)
    assert request == held.request
    assert (request.state, request.lease_owner, request.lease_epoch, request.attempts) == (
        RequestState.RUNNING,
        "worker-7",
        1,
        1,
    )


def test_a_live_lease_cannot_be_taken_over_not_even_by_who_saw_the_request_queued(
    database: Database, model: Model, file_request: FileRequest, when: datetime
) -> None:
    with database.write() as tx:
        seen = file_request(tx, model)
    held = claim(database, 1, when)
    with pytest.raises(RetryLaterError, match="carried out by another worker"), database.write() as tx:
        tx.requests.claim(seen, owner="worker-2", ttl=HOUR, at=when)
    with database.read() as tx:
        assert tx.requests.get(1) == held.request


def test_an_epoch_is_never_given_twice_even_to_who_remembers_an_old_one(
    database: Database, model: Model, file_request: FileRequest, when: datetime
) -> None:
    with database.write() as tx:
        seen = file_request(tx, model)
    first = claim(database, 1, when, owner="same-name")
    expire(database, 1)
    with database.write() as tx:
        second = tx.requests.claim(seen, owner="same-name", ttl=HOUR, at=when)
    assert (first.epoch, second.epoch, second.request.attempts) == (1, 2, 2)
    with pytest.raises(RetryLaterError), database.write() as tx:
        tx.requests.finish(first, Action.FULFIL, at=when)


@pytest.mark.parametrize("state", ["awaiting_approval", "on_hold", "denied", "fulfilled", "blocked", "failed"])
def test_what_is_not_queued_cannot_be_claimed(
    database: Database, model: Model, file_request: FileRequest, when: datetime, state: str
) -> None:
    with database.write() as tx:
        filed = file_request(tx, model, state=state)
    with pytest.raises(TransitionError):
        claim(database, 1, when)
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
    database: Database, model: Model, file_request: FileRequest, when: datetime, action: Action, state: RequestState
) -> None:
    with database.write() as tx:
        file_request(tx, model)
        file_request(tx, model)
    held = claim(database, 1, when)
    with database.write() as tx:
        done = tx.requests.finish(held, action, at=when, outcome="said so")
    assert (done.state, done.outcome, done.lease_owner, done.lease_epoch) == (state, "said so", None, 1)
    assert claimable(database) == [1 if state is RequestState.QUEUED else 2]
    with pytest.raises(RetryLaterError, match="the lease on request 1 was lost"), database.write() as tx:
        tx.requests.finish(held, action, at=when)


def test_an_expired_lease_can_neither_finish_nor_be_extended(
    database: Database, model: Model, file_request: FileRequest, when: datetime
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    held = claim(database, 1, when)
    expire(database, 1)
    with pytest.raises(RetryLaterError), database.write() as tx:
        tx.requests.finish(held, Action.FULFIL, at=when)
    with pytest.raises(RetryLaterError), database.write() as tx:
        tx.requests.extend(held, ttl=HOUR)
    with database.read() as tx:
        assert tx.requests.get(1) == held.request


def test_a_worker_whose_request_was_claimed_again_cannot_finish_it(
    database: Database, model: Model, file_request: FileRequest, when: datetime
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    stale = claim(database, 1, when)
    expire(database, 1)
    current = claim(database, 1, when, owner="worker-2")
    for lost in (stale, Claim(current.request, "worker-2", stale.epoch), Claim(current.request, "worker-1", 2)):
        with pytest.raises(RetryLaterError), database.write() as tx:
            tx.requests.finish(lost, Action.FULFIL, at=when)
        with pytest.raises(RetryLaterError), database.write() as tx:
            tx.requests.extend(lost, ttl=HOUR)
    with database.write() as tx:
        assert tx.requests.finish(current, Action.FULFIL, at=when).attempts == 2


def test_nothing_of_a_commit_without_a_lease_is_kept(
    database: Database, model: Model, file_request: FileRequest, when: datetime
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    held = claim(database, 1, when)
    expire(database, 1)
    with pytest.raises(RetryLaterError), database.write() as tx:  # noqa: PT012 - the whole block is what is undone
        tx.spaces.add_blob("a" * 64, 1, "weights", at=when)
        tx.audit.append("request.fulfilled", at=when, actor="worker-1", request_id=1)
        tx.requests.finish(held, Action.FULFIL, at=when)
    with database.read() as tx:
        assert tx.spaces.blobs() == []
        assert tx.audit.count() == 0


def test_a_heartbeat_prolongs_a_lease(
    database: Database, model: Model, file_request: FileRequest, when: datetime
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    held = claim(database, 1, when)
    with database.write() as tx:
        tx.requests.extend(held, ttl=4 * HOUR)
    expire(database, 1)
    assert claimable(database) == []
    with database.write() as tx:
        assert tx.requests.finish(held, Action.FULFIL, at=when).state is RequestState.FULFILLED


def test_a_lease_runs_out_on_the_databases_own_clock(
    database: Database, model: Model, file_request: FileRequest, when: datetime
) -> None:
    with database.write() as tx:
        file_request(tx, model)
    claim(database, 1, when, ttl=0.05)
    time.sleep(0.1)
    assert claimable(database) == [1]
