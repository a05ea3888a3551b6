"""Requests to forget classes: as they are filed, and as the ledger stores them."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ledger.errors import PreconditionError, UsageError

from .moments import require_in_calendar
from .previews import PreviewRecord
from .states import OPEN_STATES, RequestState

REVISION_LENGTH = 16
LONGEST_REASON = 10_000
LONGEST_BASIS = 100
LONGEST_EXTERNAL_ID = 200
LONGEST_KEY = 200
"""Characters, whichever way a request comes in."""


@dataclass(frozen=True)
class NewRequest:
    """A request to file: what no database could keep, or no calendar show, is none.

    Raises:
        UsageError: A text is too long or holds what is no character, the idempotency key is empty, or a date lies
            outside the calendar.
    """

    classes: frozenset[int]
    actor: str
    reason: str = ""
    basis: str = ""
    external_id: str = ""
    received_at: datetime | None = None
    due_at: datetime | None = None
    idempotency_key: str | None = None
    preview: PreviewRecord | None = None
    """The preview that it is bound to."""

    def __post_init__(self) -> None:
        """Check what came in."""
        _require_text("the reason", self.reason, LONGEST_REASON)
        _require_text("the basis", self.basis, LONGEST_BASIS)
        _require_text("the external_id", self.external_id, LONGEST_EXTERNAL_ID)
        if self.idempotency_key == "":
            # Taken for a key, it would make every later request without one a repetition of the first.
            raise UsageError("an idempotency key cannot be empty", "leave it out where there is none")
        _require_text("the idempotency key", self.idempotency_key or "", LONGEST_KEY)
        if self.received_at is not None:
            require_in_calendar(self.received_at, "the date of receipt")
        if self.due_at is not None:
            require_in_calendar(self.due_at, "the due date")


@dataclass(frozen=True)
class RequestBody:
    """All that whoever files a request says of it.

    Its digest tells a repeated call from another one with the same idempotency key, and stands in the audit history.
    """

    model: str
    classes: tuple[int, ...]
    """Ascending."""
    reason: str
    basis: str
    external_id: str
    received_at: str | None
    """ISO 8601, with the offset that was given; None if it was left to the ledger."""
    due_at: str | None
    """ISO 8601, with the offset that was given; None if it was left to the ledger."""
    preview: str | None = None
    """Digest of the preview that it is bound to."""

    @classmethod
    def of(cls, model: str, new: NewRequest, preview: str | None = None) -> "RequestBody":
        """Return the body of a request to a model.

        Args:
            model: The model.
            new: The request.
            preview: Digest of the preview that it is bound to.
        """
        return cls(
            model=model,
            classes=tuple(sorted(new.classes)),
            reason=new.reason,
            basis=new.basis,
            external_id=new.external_id,
            received_at=new.received_at.isoformat() if new.received_at else None,
            due_at=new.due_at.isoformat() if new.due_at else None,
            preview=preview,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; a request that is bound to no preview has the digest that earlier releases gave."""
        values = {**vars(self), "classes": list(self.classes)}
        if self.preview is None:
            del values["preview"]
        return values


@dataclass(frozen=True)
class Request:
    """A stored request."""

    id: int
    model_id: int
    classes: frozenset[int]
    state: RequestState
    actor: str
    reason: str
    basis: str
    external_id: str
    received_at: datetime
    due_at: datetime
    created_at: datetime
    updated_at: datetime
    version: int | None
    """Number of the version that fulfilled it; None before."""
    no_op: bool
    """Whether its classes were already forgotten when it was fulfilled, so that no version was made."""
    gates_waived: bool
    attempts: int
    lease_owner: str | None
    lease_epoch: int
    outcome: str
    """Why it ended as it did, for a person: reason of a denial, failure or missed gate."""

    @property
    def is_open(self) -> bool:
        """Whether somebody still waits for its outcome."""
        return self.state in OPEN_STATES

    @property
    def revision(self) -> str:
        """Names what a person sees of it when they decide: another one after everything that happens to it.

        A worker that prolongs its lease changes nothing of that.
        """
        moments = (moment.astimezone(UTC).isoformat() for moment in (self.due_at, self.updated_at))
        facts = (self.id, self.state.value, *moments, self.lease_epoch, self.version, self.gates_waived)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:REVISION_LENGTH]

    def require(self, expected: str | None) -> None:
        """Refuse to go on from another revision than the one that somebody looked at.

        Args:
            expected: The revision that they looked at; None asks for nothing.

        Raises:
            PreconditionError: Something happened to it since.
        """
        if expected is not None and expected != self.revision:
            raise PreconditionError(
                f"request {self.id} changed since you looked at it: it is {self.state.value} now",
                f"look again: unledger request show {self.id}",
                current=self.revision,
            )


def _require_text(what: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise UsageError(f"{what} has {len(text):,} characters, and at most {longest:,} are kept", "shorten it")
    if any(character == "\x00" or "\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{what} holds what is no character", "leave out NUL, and halves of surrogate pairs")
