"""File requests. Carrying them out is the worker's part."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ledger.audit.row_digests import idempotency_digest
from ledger.digest import json_digest
from ledger.domain.due import add_months
from ledger.domain.events.requests import RequestFulfilled, RequestReceived
from ledger.domain.models import Model
from ledger.domain.requests import NewRequest, Request, RequestBody
from ledger.domain.states import RequestState
from ledger.errors import IdempotencyConflictError, TooFewRetainedError, UsageError
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.store.unit_of_work import Transaction


@dataclass(frozen=True)
class Receipt:
    """The answer to a filed request."""

    request: Request
    repeated: bool
    """The idempotency key was known: this is the request filed first, nothing was added."""


def check_retained(model: Model, forgotten: frozenset[int]) -> None:
    """Refuse to leave fewer classes than the model's minimum.

    Raises:
        TooFewRetainedError: With the numbers.
    """
    left = len(model.labels) - len(forgotten)
    if left < model.settings.min_retained:
        raise TooFewRetainedError(
            f"{model.name} would retain {left} of {len(model.labels)} classes; its minimum is "
            f"{model.settings.min_retained}",
            "open requests count; to retire a model altogether, delete it where it is deployed",
        )


def enqueue(
    ledger: Ledger, model_name: str, requests: Sequence[NewRequest], *, approval: bool = False
) -> list[Receipt]:
    """File one or several requests, all or none.

    Classes that the live version has already forgotten make a request a no-op: it is recorded,
    fulfilled at once and answered with that version, so that withdrawing an earlier request for the
    same class cannot bring it back.

    Args:
        ledger: The ledger.
        model_name: The model that shall forget.
        requests: What to file, in order.
        approval: Whether a person must approve before a worker may begin.

    Raises:
        UsageError: A request names no class, or its dates contradict each other.
        TooFewRetainedError: With all open requests fulfilled, too few classes would be left.
        IdempotencyConflictError: A key was used before, for something else.
        BusyError: The database was too busy for too long; nothing was filed.
        UnreachableError: The database went away: whether the requests were filed is unknown, and sending them
            again is safe where each has an idempotency key.
    """

    def transaction() -> list[Receipt]:
        with ledger.database.write() as tx:
            model = tx.models.get(model_name)
            tx.trusted.covered(model.name)
            now = ledger.clock()
            return [_enqueue(tx, model, request, now, approval) for request in requests]

    return retry_when_busy(transaction)


def _enqueue(tx: Transaction, model: Model, new: NewRequest, now: datetime, approval: bool) -> Receipt:  # noqa: FBT001
    if not new.classes:
        raise UsageError("a request must name at least one class", "name one with -c CLASS")
    received = new.received_at or now
    due = new.due_at or add_months(received)
    if due < received:
        raise UsageError(f"due {due:%Y-%m-%d} lies before received {received:%Y-%m-%d}")
    digest = json_digest(RequestBody.of(model.name, new).to_json())
    if new.idempotency_key is not None:
        known = tx.requests.by_key(new.idempotency_key)
        if known is not None:
            tx.trusted.request(known[0].id)
            return _repeat(*known, digest, new.idempotency_key)
    live = tx.versions.live(model)
    check_retained(model, live.forgotten | tx.requests.awaited(model) | new.classes)
    no_op = new.classes <= live.forgotten
    waiting_state = RequestState.AWAITING_APPROVAL if approval else RequestState.QUEUED
    state = RequestState.FULFILLED if no_op else waiting_state
    request = tx.requests.add(
        {
            "model_id": model.id,
            "classes": sorted(new.classes),
            "state": state.value,
            "actor": new.actor,
            "reason": new.reason,
            "basis": new.basis,
            "external_id": new.external_id,
            "received_at": received,
            "due_at": due,
            "created_at": now,
            "updated_at": now,
            "idempotency_key": new.idempotency_key,
            "body_digest": digest,
            "version": live.number if no_op else None,
            "no_op": no_op,
            "outcome": f"already forgotten in version {live.number}" if no_op else "",
        }
    )
    tx.audit.append(
        RequestReceived(
            classes=tuple(sorted(new.classes)),
            basis=new.basis,
            received_at=received,
            due_at=due,
            state=state,
            body=digest,
            idempotency=idempotency_digest(digest, new.idempotency_key),
        ),
        at=now,
        actor=new.actor,
        model=model.name,
        request_id=request.id,
        note=new.reason,
    )
    if no_op:
        tx.audit.append(
            RequestFulfilled(version=live.number, no_op=True, state=state),
            at=now,
            actor=new.actor,
            model=model.name,
            request_id=request.id,
        )
    return Receipt(request, repeated=False)


def _repeat(known: Request, known_digest: str, digest: str, key: str) -> Receipt:
    if known_digest != digest:
        raise IdempotencyConflictError(
            f"the key {key!r} was used for request {known.id}, which asks for something else",
            "use a new key for a new request",
        )
    return Receipt(known, repeated=True)
