"""The desk of a ledger here: its documents are as their schemas say, and its confirmations hold what they confirm."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ledger.desk.asked import FiledRequest
from ledger.desk.local.desk import LocalDesk
from ledger.documents.document import Document
from ledger.domain.states import Action, RequestState
from ledger.errors import ConflictError, NotFoundError, PreconditionError, UnknownClassError
from tests.fixtures.documents import check_document
from tests.ledgers.desk import MODEL, Desk

if TYPE_CHECKING:
    from collections.abc import Iterator


def kind(body: Document) -> str:
    """Check a document, as it goes over a wire, against its schema; return its kind."""
    return check_document(json.loads(json.dumps(body, default=lambda value: value.isoformat())))


@pytest.fixture
def there(two_forgotten: Desk) -> LocalDesk:
    """The desk of the ledger with two versions, where nothing is computed."""
    return LocalDesk(two_forgotten.ledger, computes=False)


def test_every_answer_is_a_document_of_its_kind(two_forgotten: Desk, there: LocalDesk) -> None:
    number = two_forgotten.model().id
    file = there.certificates.issue(1)

    def answers() -> Iterator[tuple[str, Document]]:
        for model in (MODEL, number):
            yield "model", there.models.show(model)
            yield "class_spaces", there.models.spaces(model)
            yield "versions", there.versions.all(model)
            yield "versions", there.versions.live_at(model, two_forgotten.now)
            yield "model", there.versions.show(model, 1)
            yield "evidence", there.versions.evidence(model)
            yield "evidence", there.versions.evidence(model, 1)
            yield "requests", there.requests.all(model, [RequestState.FULFILLED], limit=1)
            yield "audit", there.audit.log(model, limit=2)
            yield "status", there.upkeep.status(model, most=1)
            yield "rollback", there.versions.plan_rollback(model, 1)
            yield "purge", there.versions.plan_purge(model, timedelta())
        yield "models", there.models.all()
        yield "request", there.requests.show(1)
        yield "lease", there.requests.lease(1)
        yield "ledger", there.upkeep.facts()
        yield "verification", there.audit.verify()
        yield "key", there.audit.key()
        yield "checkpoint", there.audit.checkpoint()
        yield "proof", there.audit.proof(1)
        yield "certificates", there.certificates.all()
        yield "certificate_record", there.certificates.show(1)
        yield "certificate_plan", there.certificates.plan(1)
        yield "certificate_file", json.loads(there.certificates.file(1))
        yield "issued", file

    for wanted, body in answers():
        assert kind(body) == wanted
    assert there.models.labels(number) == there.models.labels(MODEL)


def test_lists_say_how_many_more_there_are(there: LocalDesk) -> None:
    size = there.upkeep.facts()["entries"]
    assert [there.audit.log(limit=limit)["more"] for limit in (1, size - 1, size, size + 1, None)] == [
        size - 1,
        1,
        0,
        0,
        0,
    ]
    assert [item["seq"] for item in there.audit.log(after=size - 2, limit=1)["items"]] == [size - 1]
    assert [there.requests.all(limit=limit)["more"] for limit in (1, 2, None)] == [1, 0, 0]
    assert there.requests.all(after=2, limit=1)["items"] == []


def test_a_rollback_takes_the_confirmation_of_its_plan(two_forgotten: Desk, there: LocalDesk) -> None:
    plan = there.versions.plan_rollback(MODEL, 1)
    other = there.versions.plan_rollback(MODEL, 0)["confirmation"]
    assert plan["confirmation"] == there.versions.plan_rollback(MODEL, 1)["confirmation"] != other
    for wrong in ("", other):
        with two_forgotten.unchanged(), pytest.raises(ConflictError, match="changed since this rollback was shown"):
            there.versions.roll_back(MODEL, 1, wrong)
    done = there.versions.roll_back(MODEL, 1, plan["confirmation"], "why")
    assert kind(done) == "rollback"
    assert (done["version"], done["confirmation"]) == (3, None)
    assert [request["id"] for request in done["reopened"]] == [2]
    assert two_forgotten.live().restores == 1
    with pytest.raises(ConflictError):
        there.versions.roll_back(MODEL, 1, plan["confirmation"])


def test_a_purge_takes_the_confirmation_of_its_plan(two_forgotten: Desk, there: LocalDesk) -> None:
    plan = there.versions.plan_purge(MODEL, timedelta())
    assert plan["purged"] == [0, 1]
    with two_forgotten.unchanged(), pytest.raises(ConflictError, match="changed since this purge was shown"):
        there.versions.purge(MODEL, timedelta(), "")
    done = there.versions.purge(MODEL, timedelta(), plan["confirmation"], clock_is_right=True)
    assert kind(done) == "purge"
    assert done["destroyed"]
    assert there.versions.all(MODEL)["items"][0]["purged_at"] is not None


def test_requests_are_filed_decided_and_withdrawn(two_forgotten: Desk, there: LocalDesk) -> None:
    filed = there.requests.file(MODEL, [FiledRequest(["index:5"], reason="why")], needs_approval=True)
    assert kind(filed) == "receipts"
    (receipt,) = filed["items"]
    assert (receipt["state"], receipt["actor"]) == ("awaiting_approval", "tester")
    seen = there.requests.show(receipt["id"])["revision"]
    two_forgotten.later()
    done = there.requests.decide(receipt["id"], Action.APPROVE, "fine", expected=seen)
    assert kind(done) == "decision"
    assert (done["request"]["state"], done["version"]) == ("queued", None)
    with two_forgotten.unchanged(), pytest.raises(PreconditionError):
        there.requests.decide(receipt["id"], Action.DENY, expected=seen)
    later = two_forgotten.now + timedelta(days=90)
    assert kind(there.requests.extend(receipt["id"], later, "a holiday")) == "decision"
    # Nothing is computed here: a worker is asked.
    assert kind(there.requests.withdraw(1)) == "withdrawal_job"
    assert there.requests.waiting_withdrawal(1) is not None
    with pytest.raises(UnknownClassError):
        there.requests.file(MODEL, [FiledRequest(["nothing"])])


def test_what_is_not_there_is_not_found(there: LocalDesk) -> None:
    for model in ("nobody", 99):
        for ask in (there.models.show, there.models.labels, there.versions.all, there.reports.one):
            with pytest.raises(NotFoundError):
                ask(model)
    with pytest.raises(NotFoundError, match="has no version 3"):
        there.versions.show(MODEL, 3)
    with pytest.raises(NotFoundError, match="not yet registered"):
        there.versions.live_at(MODEL, there.ledger.clock() - timedelta(days=730))
