"""File requests. Carrying them out is the worker's part.

Filing takes time that grows with the number of requests and no faster: what an answer depends on is read once for all
of them, and rows and entries are written together.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ledger.audit.row_digests import idempotency_digest
from ledger.domain.events.requests import RequestFulfilled, RequestReceived
from ledger.domain.requests import NewRequest, Request
from ledger.errors import LedgerError
from ledger.service.audit.checkpoints import keep_checkpoint
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.store.audit.log import NewEntry
from ledger.store.unit_of_work import Transaction

from .calls import Call
from .intake import Intake, Sent

PART = 1000
"""Requests that are filed in one transaction. Other writers wait for it: about a tenth of a second."""
FEW = 20
"""As many requests are checked while others wait to write: that is quicker than to read twice what answers rest on."""
PAUSE = 0.25
"""Seconds between two parts. SQLite lets a waiting writer look at most 0.1 seconds apart whether it is its turn."""


@dataclass(frozen=True)
class Receipt:
    """The answer to a filed request."""

    request: Request
    repeated: bool
    """The idempotency key was known: this is the request filed first, nothing was added."""


def enqueue(
    ledger: Ledger,
    model_name: str,
    requests: Sequence[NewRequest],
    *,
    approval: bool = False,
    key: str | None = None,
) -> list[Receipt]:
    """File one or several requests: up to :data:`PART` all or none, more in parts of that many, in order.

    Classes that the live version has already forgotten make a request a no-op: it is recorded, fulfilled at once and
    answered with that version, so that withdrawing an earlier request for the same class cannot bring it back.

    All requests are checked before the first is filed. Other writers get their turn between two parts.

    Args:
        ledger: The ledger.
        model_name: The model that shall forget.
        requests: What to file, in order.
        approval: Whether a person must approve before a worker may begin; always so where the ledger asks for two
            people.
        key: An idempotency key for all of them together, at most :data:`PART`, in the place of one for each.

    Raises:
        UsageError: A request names no class, its dates contradict each other, or the key cannot stand for all.
        TooFewRetainedError: With all open requests fulfilled, too few classes would be left.
        ConflictError: The model changed since the preview was made that a request is bound to.
        IdempotencyConflictError: A key was used before, for something else.
        AuditError: The audit log does not verify.
        RowError: A row that the answer rests on is not what the audit log says.
        BusyError: The database was too busy for too long.
        UnreachableError: The database went away: whether the requests (of many, the next part) were filed is unknown,
            and sending them again is safe where each has an idempotency key.
    """
    call = Call(key, len(requests), approval)
    keyed = call.keyed(requests, PART)
    sent = [Sent.to(model_name, new) for new in keyed]
    checked = frozenset[int]()
    if len(sent) > min(FEW, PART):
        # Checking many may take long: it happens once before anybody has to wait for it.
        with ledger.database.read() as tx:
            intake = Intake.open(tx, model_name, ledger, approval=approval)
            checked = intake.known_numbers(tx, sent, frozenset())
            call.require_same(tx)
            for one in sent:
                intake.take(one)

    def transaction(part: Sequence[Sent]) -> list[Receipt]:
        ledger.database.catch_up()
        with ledger.database.write() as tx:
            intake = Intake.open(tx, model_name, ledger, approval=approval)
            intake.known_numbers(tx, part, checked)
            call.require_same(tx)
            return write_all(tx, intake, part, [intake.take(one) for one in part])

    receipts: list[Receipt] = []
    for start in range(0, len(sent), PART):
        if start:
            time.sleep(PAUSE)
        try:
            receipts += retry_when_busy(partial(transaction, sent[start : start + PART]))
        except LedgerError as error:
            if start:
                error.hint = (
                    f"the first {start} of {len(sent)} requests were filed; those with an idempotency key may be sent "
                    f"again, the others not" + (f"; {error.hint}" if error.hint else "")
                )
            raise
    if any(receipt.request.no_op and not receipt.repeated for receipt in receipts):
        keep_checkpoint(ledger)
    return receipts


def refusals(
    ledger: Ledger, model_name: str, requests: Sequence[NewRequest], *, approval: bool = False
) -> list[LedgerError | None]:
    """Return why each of some requests could not be filed behind those before it; None where it could. None is filed.

    Args:
        ledger: The ledger.
        model_name: The model that shall forget.
        requests: What would be filed, in order.
        approval: Whether a person must approve before a worker may begin.

    Raises:
        NotFoundError: There is no such model.
        AuditError: The audit log does not verify.
        RowError: A row that the answer rests on is not what the audit log says.
    """
    sent = [Sent.to(model_name, new) for new in requests]
    refused: list[LedgerError | None] = []
    with ledger.database.read() as tx:
        intake = Intake.open(tx, model_name, ledger, approval=approval)
        intake.known_numbers(tx, sent, frozenset())
        for one in sent:
            expected = intake.expected
            try:
                intake.take(one)
                refused.append(None)
            except LedgerError as error:
                intake.expected = expected
                refused.append(error)
    return refused


def enqueue_in(tx: Transaction, ledger: Ledger, model_name: str, new: NewRequest, *, approval: bool) -> Receipt:
    """File a request inside a transaction, as :func:`enqueue` does in its own. Where it raises, nothing was written."""
    sent = [Sent.to(model_name, new)]
    intake = Intake.open(tx, model_name, ledger, approval=approval)
    intake.known_numbers(tx, sent, frozenset())
    return write_all(tx, intake, sent, [intake.take(one) for one in sent])[0]


def write_all(
    tx: Transaction, intake: Intake, part: Sequence[Sent], rows: Sequence[dict[str, Any] | None]
) -> list[Receipt]:
    """Write requests that were taken in, and the entries that tell of them.

    Args:
        tx: The transaction.
        intake: What took them in.
        part: The requests, in order.
        rows: What :meth:`Intake.take` returned for each.

    Raises:
        RowError: The audit log tells of a request under a number that is free in the database.
    """
    added = tx.requests.add_all([row for row in rows if row is not None])
    tx.trusted.unrecorded("requests", [(request.id,) for request in added])
    filed = iter(added)
    receipts, entries = [], []
    for one, row in zip(part, rows, strict=True):
        if row is None:
            known, _ = intake.known[str(one.new.idempotency_key)]
            if known is None:
                raise AssertionError("a request was taken for one that was filed before")
            receipts.append(Receipt(known, repeated=True))
            continue
        request = next(filed)
        if one.new.idempotency_key is not None:
            intake.known[one.new.idempotency_key] = request, one.digest
        receipts.append(Receipt(request, repeated=False))
        entries += _entries(intake, one, request)
    tx.audit.append_all(entries)
    return receipts


def _entries(intake: Intake, sent: Sent, request: Request) -> list[NewEntry]:
    common: dict[str, Any] = {
        "at": intake.at,
        "actor": request.actor,
        "model": intake.model.name,
        "request_id": request.id,
    }
    received = RequestReceived(
        classes=tuple(sorted(request.classes)),
        basis=request.basis,
        received_at=request.received_at,
        due_at=request.due_at,
        state=request.state,
        body=sent.digest,
        idempotency=idempotency_digest(sent.digest, sent.new.idempotency_key),
        preview=sent.preview,
        foretold=sent.new.preview,
    )
    entries = [NewEntry(received, note=request.reason, **common)]
    if request.no_op:
        fulfilled = RequestFulfilled(version=intake.live.number, no_op=True, state=request.state)
        entries.append(NewEntry(fulfilled, **common))
    return entries
