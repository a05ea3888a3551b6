"""What becomes of requests that come in: taken in one after another, each checked behind those before it.

What answers depend on is read once, so that filing takes time that grows with the number of requests and no faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from ledger.digest import json_digest
from ledger.domain.due import due_by_default
from ledger.domain.models import Model
from ledger.domain.moments import in_zone
from ledger.domain.requests import NewRequest, Request, RequestBody
from ledger.domain.states import RequestState
from ledger.domain.versions import Version
from ledger.errors import IdempotencyConflictError, UsageError
from ledger.service.clock import TOLERANCE
from ledger.service.ledger import Ledger
from ledger.store.unit_of_work import Transaction

from .foretelling import digest_of, require_fitting
from .retention import check_retained


@dataclass(frozen=True)
class Sent:
    """A request as it came in."""

    new: NewRequest
    preview: str | None
    """Digest of the preview that it is bound to."""
    digest: str
    """Of its body."""

    @classmethod
    def to(cls, model_name: str, new: NewRequest) -> "Sent":
        """Return a request to a model."""
        preview = None if new.preview is None else digest_of(new.preview)
        return cls(new, preview, json_digest(RequestBody.of(model_name, new, preview).to_json()))


@dataclass
class Intake:
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
    four_eyes: bool
    """Whether a person must approve, whatever is asked for."""
    anchor: Version
    """What computations start from."""
    known: dict[str, tuple[Request | None, str]]
    """By idempotency key: the request under it (None for one that was taken in just now) and the digest of its body."""

    @classmethod
    def open(cls, tx: Transaction, model_name: str, ledger: Ledger, *, approval: bool) -> "Intake":
        """Read what answers depend on.

        Args:
            tx: The transaction.
            model_name: The model that shall forget.
            ledger: The ledger.
            approval: Whether a person must approve before a worker may begin.

        Raises:
            NotFoundError: There is no such model.
            AuditError: The audit log does not verify.
            RowError: A row that the answer rests on is not what the audit log says.
        """
        model = tx.models.get(model_name)
        tx.trusted.current(model.name)
        live, anchor = tx.versions.live(model), tx.versions.get(model, model.anchor)
        four_eyes = ledger.config.access.four_eyes
        waiting = _waiting(approval=approval or four_eyes)
        expected = live.forgotten | tx.requests.awaited(model)
        return cls(model, live, expected, ledger.clock(), ledger.config.zone, waiting, four_eyes, anchor, {})

    def begin(self, *, approval: bool) -> None:
        """Go on with requests of somebody else, who says whether a person must approve them."""
        self.waiting = _waiting(approval=approval or self.four_eyes)

    def known_numbers(self, tx: Transaction, sent: Sequence[Sent], checked: frozenset[int]) -> frozenset[int]:
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

    def take(self, sent: Sent) -> dict[str, Any] | None:
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


def _waiting(*, approval: bool) -> RequestState:
    return RequestState.AWAITING_APPROVAL if approval else RequestState.QUEUED


def _text(moment: datetime, zone: tzinfo) -> str:
    return f"{in_zone(moment, zone):%Y-%m-%d %H:%M %Z}"


def _require_same(known: Request | None, known_digest: str, digest: str, key: str) -> None:
    if known_digest != digest:
        where = "an earlier one of these requests" if known is None else f"request {known.id}"
        raise IdempotencyConflictError(
            f"the key {key!r} was used for {where}, which asks for something else",
            "use a new key for a new request",
        )
