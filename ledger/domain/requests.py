"""Forget requests: as they are filed, and as the ledger holds them."""

from dataclasses import dataclass
from datetime import datetime

from .states import OPEN_STATES, RequestState


@dataclass(frozen=True)
class NewRequest:
    """A request as it is filed."""

    classes: frozenset[int]
    actor: str
    reason: str = ""
    basis: str = ""
    external_id: str = ""
    received_at: datetime | None = None
    due_at: datetime | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Request:
    """A request as the ledger holds it."""

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
    """The version that fulfilled it."""
    no_op: bool
    """The classes were already forgotten when it was fulfilled, so no version was made."""
    gates_waived: bool
    attempts: int
    lease_owner: str | None
    lease_epoch: int
    outcome: str
    """What a person should know about how it ended: denial reason, failure, gate."""

    @property
    def is_open(self) -> bool:
        """Whether somebody still waits for it."""
        return self.state in OPEN_STATES
