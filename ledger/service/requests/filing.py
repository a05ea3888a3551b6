"""File requests. Carrying them out is the worker's part.

Filing takes time that grows with the number of requests and no faster: what an answer depends on is read once for all
of them, and rows and entries are written together.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from typing import Any

from ledger.audit.row_digests import idempotency_digest
from ledger.digest import json_digest
from ledger.domain.due import due_by_default
from ledger.domain.events.requests import RequestFulfilled, RequestReceived
from ledger.domain.models import Model
from ledger.domain.moments import in_zone
from ledger.domain.requests import NewRequest, Request, RequestBody
from ledger.domain.states import RequestState
from ledger.domain.versions import Version
from ledger.errors import IdempotencyConflictError, LedgerError, TooFewRetainedError, UsageError
from ledger.service.audit.checkpoints import keep_checkpoint
from ledger.service.clock import TOLERANCE
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.store.audit.log import NewEntry
from ledger.store.unit_of_work import Transaction

from .calls import Call
from .foretelling import digest_of, require_fitting

PART = 1000
"""Requests that are filed in one transaction. Other writers wait for it: about a tenth of a second."""
PAUSE = 0.25
"""Seconds between two parts. SQLite lets a waiting writer look at most 0.1 seconds apart whether it is its turn."""


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
    sent = [_Sent(new, json_digest(RequestBody.of(model_name, new).to_json())) for new in keyed]
    # Verifying the log and the requests may take long: it happens once before anybody has to wait for it.
    with ledger.database.read() as tx:
        counter = _Counter.open(tx, model_name, ledger, approval=approval)
        checked = counter.known_numbers(tx, sent, frozenset())
        call.require_same(tx)
        for one in sent:
            counter.take(one)

    def transaction(part: Sequence[_Sent]) -> list[Receipt]:
        ledger.database.catch_up()
        with ledger.database.write() as tx:
            counter = _Counter.open(tx, model_name, ledger, approval=approval)
            counter.known_numbers(tx, part, checked)
            call.require_same(tx)
            return _file(tx, counter, part)

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
    sent = [_Sent(new, json_digest(RequestBody.of(model_name, new).to_json())) for new in requests]
    refused: list[LedgerError | None] = []
    with ledger.database.read() as tx:
        counter = _Counter.open(tx, model_name, ledger, approval=approval)
        counter.known_numbers(tx, sent, frozenset())
        for one in sent:
            expected = counter.expected
            try:
                counter.take(one)
                refused.append(None)
            except LedgerError as error:
                counter.expected = expected
                refused.append(error)
    return refused


def enqueue_in(tx: Transaction, ledger: Ledger, model_name: str, new: NewRequest, *, approval: bool) -> Receipt:
    """File a request inside a transaction, as :func:`enqueue` does in its own. Where it raises, nothing was written."""
    sent = [_Sent(new, json_digest(RequestBody.of(model_name, new).to_json()))]
    counter = _Counter.open(tx, model_name, ledger, approval=approval)
    counter.known_numbers(tx, sent, frozenset())
    return _file(tx, counter, sent)[0]


@dataclass(frozen=True)
class _Sent:
    """A request as it came in."""

    new: NewRequest
    digest: str
    """Of its body."""


@dataclass
class _Counter:
    """Takes requests in, one after another. What answers depend on is read once and kept up to date in memory."""

    model: Model
    live: Version
    expected: frozenset[int]
    """Classes that the model will have forgotten with all open requests fulfilled."""
    at: datetime
    zone: tzinfo
    """The ledger's time zone."""
    waiting: RequestState
    """The state of a request that is not fulfilled at once."""
    anchor: Version
    """What computations start from."""
    known: dict[str, tuple[Request | None, str]]
    """By idempotency key: the request under it (None for one that was taken in just now) and the digest of its body."""

    @classmethod
    def open(cls, tx: Transaction, model_name: str, ledger: Ledger, *, approval: bool) -> "_Counter":
        model = tx.models.get(model_name)
        tx.trusted.current(model.name)
        live, anchor = tx.versions.live(model), tx.versions.get(model, model.anchor)
        held = approval or ledger.config.access.four_eyes
        waiting = RequestState.AWAITING_APPROVAL if held else RequestState.QUEUED
        expected = live.forgotten | tx.requests.awaited(model)
        return cls(model, live, expected, ledger.clock(), ledger.config.zone, waiting, anchor, {})

    def known_numbers(self, tx: Transaction, sent: Sequence[_Sent], checked: frozenset[int]) -> frozenset[int]:
        """Look up the idempotency keys, check the requests under them, and return the numbers of those requests.

        Args:
            tx: The transaction.
            sent: The requests with the keys.
            checked: Numbers of requests that were checked already.
        """
        keys = [one.new.idempotency_key for one in sent if one.new.idempotency_key is not None]
        self.known = {**tx.requests.by_keys(keys)}
        numbers = frozenset(request.id for request, _ in self.known.values() if request is not None)
        tx.trusted.requests_of(numbers - checked)
        return numbers

    def take(self, sent: _Sent) -> dict[str, Any] | None:
        """Return the row of a request; None if it was filed before.

        Raises:
            UsageError: It names no class, or its dates contradict each other.
            TooFewRetainedError: Too few classes would be left.
            IdempotencyConflictError: Its key was used before, for something else.
            ConflictError: The model changed since its preview was made.
        """
        new, key = sent.new, sent.new.idempotency_key
        if not new.classes:
            raise UsageError("a request must name at least one class", "name one with -c CLASS")
        received = new.received_at or self.at
        if received > self.at + TOLERANCE:
            raise UsageError(
                f"a request cannot be received in the future: {_text(received, self.zone)} lies after now, "
                f"{_text(self.at, self.zone)}",
                "check the date of receipt, and this machine's clock",
            )
        due = new.due_at or due_by_default(received, self.zone)
        if due < received:
            raise UsageError(
                f"due {_text(due, self.zone)} lies before received {_text(received, self.zone)}", "check both dates"
            )
        if key is not None:
            if key in self.known:
                _require_same(*self.known[key], sent.digest, key)
                return None
            self.known[key] = None, sent.digest
        no_op = new.classes <= self.live.forgotten
        if not new.classes <= self.expected:
            self.expected |= new.classes
        check_retained(self.model, self.expected)
        if new.preview is not None and not no_op:
            require_fitting(self.model, self.live, self.anchor, new.classes, new.preview)
        return {
            "model_id": self.model.id,
            "classes": sorted(new.classes),
            "state": (RequestState.FULFILLED if no_op else self.waiting).value,
            "actor": new.actor,
            "reason": new.reason,
            "basis": new.basis,
            "external_id": new.external_id,
            "received_at": received,
            "due_at": due,
            "created_at": self.at,
            "updated_at": self.at,
            "idempotency_key": key,
            "body_digest": sent.digest,
            "version": self.live.number if no_op else None,
            "no_op": no_op,
            "outcome": f"already forgotten in version {self.live.number}" if no_op else "",
        }


def _file(tx: Transaction, counter: _Counter, part: Sequence[_Sent]) -> list[Receipt]:
    rows = [counter.take(one) for one in part]
    added = tx.requests.add_all([row for row in rows if row is not None])
    tx.trusted.unrecorded("requests", [(request.id,) for request in added])
    filed = iter(added)
    receipts, entries = [], []
    for one, row in zip(part, rows, strict=True):
        if row is None:
            known, _ = counter.known[str(one.new.idempotency_key)]
            if known is None:
                raise AssertionError("a request was taken for one that was filed before")
            receipts.append(Receipt(known, repeated=True))
            continue
        request = next(filed)
        if one.new.idempotency_key is not None:
            counter.known[one.new.idempotency_key] = request, one.digest
        receipts.append(Receipt(request, repeated=False))
        entries += _entries(counter, one, request)
    tx.audit.append_all(entries)
    return receipts


def _entries(counter: _Counter, sent: _Sent, request: Request) -> list[NewEntry]:
    common: dict[str, Any] = {
        "at": counter.at,
        "actor": request.actor,
        "model": counter.model.name,
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
        preview=None if sent.new.preview is None else digest_of(sent.new.preview),
        foretold=sent.new.preview,
    )
    entries = [NewEntry(received, note=request.reason, **common)]
    if request.no_op:
        fulfilled = RequestFulfilled(version=counter.live.number, no_op=True, state=request.state)
        entries.append(NewEntry(fulfilled, **common))
    return entries


def _text(moment: datetime, zone: tzinfo) -> str:
    return f"{in_zone(moment, zone):%Y-%m-%d %H:%M %Z}"


def _require_same(known: Request | None, known_digest: str, digest: str, key: str) -> None:
    if known_digest != digest:
        where = "an earlier one of these requests" if known is None else f"request {known.id}"
        raise IdempotencyConflictError(
            f"the key {key!r} was used for {where}, which asks for something else",
            "use a new key for a new request",
        )
