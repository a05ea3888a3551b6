"""Results that can be computed again from class spaces and images, and are kept so that they need not be."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ResultKind(StrEnum):
    """What is kept."""

    RETAINED = "retained"
    """What the retained classes amount to at every map."""
    ANSWERS = "answers"
    """What the anchor weights answer to calibration images."""
    ACTIVATIONS = "activations"
    """What the anchor weights compute of calibration images before the layers that are edited."""
    EVALUATION = "evaluation"
    """What the anchor weights answer to the images that new versions are measured on."""


@dataclass(frozen=True)
class KeptPart:
    """One stored object of a kept result."""

    names: tuple[str, ...]
    """What it holds, in order: of sums, the keys of maps and groups of maps; of answers, blocks or
    chunks of images; of activations, modules (after an @) and blocks."""
    object_digest: str
    size: int
    """Bytes of the object."""


@dataclass(frozen=True)
class KeptResult:
    """A result of one model and anchor. A newer one of the same kind takes its place."""

    model_id: int
    anchor: int
    """Number of the version whose weights it was computed from."""
    kind: ResultKind
    members: tuple[tuple[int, str], ...]
    """The classes in it, ascending, each with the digest of what its part was computed from: of sums, that of the
    class space; of answers, one of everything that decides them."""
    parts: tuple[KeptPart, ...]
    created_at: datetime

    @property
    def size(self) -> int:
        """Bytes of all its objects."""
        return sum(part.size for part in self.parts)
