"""Events of the audit log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class AuditEvent:
    """One entry of the audit history."""

    seq: int
    at: datetime
    kind: str
    actor: str
    model: str | None
    request_id: int | None
    data: dict[str, Any]
    leaf: str
    """The canonical JSON text that is hashed."""
    digest: str
    note: str | None = None
    """Free text that belongs to the event and is kept outside the hashed leaf."""
