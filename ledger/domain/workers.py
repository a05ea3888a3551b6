"""Workers that stay, and when they were last heard of."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Worker:
    """A worker that stays, and when it was last heard of."""

    owner: str
    model: str | None
    """The only model it works for; None for all."""
    started_at: datetime
    idle: float
    """Seconds since it was heard of, on the database's clock."""
