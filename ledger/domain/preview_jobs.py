"""Previews that a worker computes for somebody who asks from afar."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class PreviewJobState(StrEnum):
    """Where a preview job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"

    @property
    def has_ended(self) -> bool:
        """Whether its answer is there."""
        return self in (PreviewJobState.DONE, PreviewJobState.FAILED)


@dataclass(frozen=True)
class PreviewJob:
    """What somebody wants to know, and the answer once it is there."""

    id: str
    """Random: whoever was not told of it does not find it."""
    model_id: int
    classes: frozenset[int]
    actor: str
    """Who asked."""
    state: PreviewJobState
    created_at: datetime
    finished_at: datetime | None = None
    answer: Mapping[str, Any] | None = None
    """Of a job that is done the document of the preview; of one that failed its error."""
