"""Requests to forget classes: as they are filed, and as the ledger stores them."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ledger.errors import PreconditionError

from .previews import PreviewRecord
from .states import OPEN_STATES, RequestState

REVISION_LENGTH = 16


@dataclass(frozen=True)
class NewRequest:
    """A request to file."""

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

    @classmethod
    def of(cls, model: str, new: NewRequest) -> "RequestBody":
        """Return the body of a request to a model."""
        return cls(
            model=model,
            classes=tuple(sorted(new.classes)),
            reason=new.reason,
            basis=new.basis,
            external_id=new.external_id,
            received_at=new.received_at.isoformat() if new.received_at else None,
            due_at=new.due_at.isoformat() if new.due_at else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**vars(self), "classes": list(self.classes)}


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
