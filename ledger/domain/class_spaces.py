"""Stored class spaces, and their part in the bases of a version."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True)
class MapSummary:
    """What is known of one class space at one linear map, or at all groups of a layer, without its factor."""

    key: str
    width: int
    rank: int
    rows: int
    trace: float
    """Of several groups: their sum."""
    error_bound: float
    """Of several groups: one that holds for each."""
    groups: int = 1
    """Number of maps that are summed up here."""


@dataclass(frozen=True)
class NewClassSpace:
    """What is known of a class space when it was collected: one class, every linear map, one sample specification."""

    model_id: int
    class_index: int
    spec_digest: str
    """Digest of everything that decides the bytes: samples, seed, rows, rank."""
    samples: tuple[int, ...]
    """Indices into the training split, in collection order."""
    samples_digest: str
    """SHA-256 over the preprocessed images."""
    object_digest: str
    """The stored object that holds its factors."""
    size: int
    """Of that object, in bytes."""
    maps: tuple[MapSummary, ...]
    created_at: datetime
    anchor: int = 0
    """The version whose weights it was collected from."""


@dataclass(frozen=True)
class ClassSpace(NewClassSpace):
    """A class space that the ledger keeps."""

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
