"""Workers that run as daemons."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Worker:
    """A worker that runs as a daemon, and when it last reported."""

    owner: str
    model: str | None
    """Name of the only model it works for; None for all models."""
    started_at: datetime
    idle: float
    """Seconds since its last report, on the database's clock."""
