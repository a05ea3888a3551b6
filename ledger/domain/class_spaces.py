"""Class spaces as the ledger stores them, and the bases of a version that are made of them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


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
    """Bound on the error of compression; for several groups one that holds for each."""
    groups: int = 1
    """Number of maps that this summary covers."""


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
