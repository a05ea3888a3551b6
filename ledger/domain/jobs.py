"""What somebody who asks from afar wants a worker to compute: a preview, or the weights that a withdrawal takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobKind(StrEnum):
    """What a worker is asked for."""

    PREVIEW = "preview"
    """What forgetting some classes would cost."""
    WITHDRAWAL = "withdrawal"
    """Take back a fulfilled request."""


class JobState(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"

    @property
    def has_ended(self) -> bool:
        """Whether its answer is there."""
        return self in (JobState.DONE, JobState.FAILED)


@dataclass(frozen=True)
class Job:
    """What somebody asked for, and the answer once it is there."""

    id: str
    """Random: whoever was not told of it does not find it."""
    kind: JobKind
    model_id: int
    asked: Mapping[str, Any]
    """What exactly, in values that JSON holds."""
    actor: str
    """Who asked."""
    state: JobState
    created_at: datetime
    finished_at: datetime | None = None
    answer: Mapping[str, Any] | None = None
    """Of a job that is done the document of what came of it; of one that failed its error."""
