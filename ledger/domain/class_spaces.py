"""Class spaces as the ledger stores them, and the bases of a version that are made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

NO_BOUND = 1.0
"""The error bound of a map of which nobody worked out how far it is off: two positive matrices of trace 1 are at most
that far apart."""


@dataclass(frozen=True)
class MapSummary:
    """Size and error of one class space at one linear map, or at all groups of a layer, without its factor."""

    key: str
    width: int
    """Number of inputs of the map."""
    rank: int
    """Number of stored directions."""
    rows: int
    """Number of input rows that it was computed from."""
    trace: float
    """Trace of the second moment; for several groups the sum."""
    error_bound: float
    """Bound on the error of compression; for several groups one that holds for each. :data:`NO_BOUND` if unknown."""
    groups: int = 1
    """Number of maps that this summary covers."""


def largest_error(bounds: Sequence[float]) -> tuple[float | None, int]:
    """Return the largest of some error bounds that say something, if any does, and how many do not."""
    known = [bound for bound in bounds if bound < NO_BOUND]
    return max(known, default=None), len(bounds) - len(known)


@dataclass(frozen=True)
class NewClassSpace:
    """A class space that is not stored yet: one class, all linear maps, one sample specification."""

    model_id: int
    class_index: int
    spec_digest: str
    """Digest of everything that determines its bytes: samples, seed, rows, rank."""
    samples: tuple[int, ...]
    """Indices into the training split, in collection order."""
    samples_digest: str
    """SHA-256 over the preprocessed images."""
    object_digest: str
    """SHA-256 of the object that holds its factors."""
    size: int
    """Size of that object in bytes."""
    maps: tuple[MapSummary, ...]
    created_at: datetime
    anchor: int = 0
    """Number of the version whose activations it was collected from."""


@dataclass(frozen=True)
class ClassSpace(NewClassSpace):
    """A stored class space."""

    id: int = field(kw_only=True)


class Role(StrEnum):
    """Which basis a class space contributes to."""

    RETAIN = "retain"
    FORGET = "forget"


@dataclass(frozen=True)
class BasisTerm:
    """One class space's part in a version's accumulated retain or forget basis."""

    role: Role
    class_index: int
    class_space_id: int
