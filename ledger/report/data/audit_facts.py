"""What the audit log says of a model: whether it verifies, what was signed, and what only its entries tell."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True)
class SignedHead:
    """The newest checkpoint: so many entries, under this root, were signed."""

    size: int
    root: str
    """Root of the tree over those entries, hexadecimal."""
    at: datetime
    checked: bool
    """Whether its signature was checked: the public half of the key was at hand."""


class HappeningKind(StrEnum):
    """What happened to a version after it was made."""

    EXPORT = "export"
    CERTIFICATE = "certificate"
    PURGE = "purge"


@dataclass(frozen=True)
class Happening:
    """Something that happened to versions after they were made, as the audit log tells it."""

    at: datetime
    kind: HappeningKind
    versions: tuple[int, ...]
    number: int | None = None
    """Of a certificate: its own number. Of a purge: the oldest version that is kept."""
    request: int | None = None
    """Of a certificate: the request that it is about."""


@dataclass(frozen=True)
class AuditStatus:
    """Whether the audit log verifies."""

    head: str | None
    """``SIZE:DIGEST`` as the database states it; None if it is missing."""
    problem: str = ""
    """What does not verify, in one sentence; empty if everything does."""
    hint: str = ""
    first_bad: int | None = None
    """Number of the first entry that does not verify."""
    root: str = ""
    """Root of the tree over all entries, hexadecimal; empty if the log does not verify."""
    signed: SignedHead | None = None
    """The newest head that was signed; None if there is none, or the log does not verify."""

    @property
    def entries(self) -> int:
        """Number of entries as the head states it; 0 if it is missing."""
        return int(self.head.partition(":")[0]) if self.head else 0

    @property
    def verified(self) -> bool:
        """Whether all entries, all notes and the head verify."""
        return not self.problem


@dataclass(frozen=True)
class VersionWaiver:
    """Quality gates that a version misses and a person waived."""

    missed: int
    names: tuple[str, ...] = ()
    """The gates; earlier releases only counted them."""
    reason: str = ""
    """The reason given; empty if none was."""


@dataclass(frozen=True)
class AuditFacts:
    """Facts about a model's versions that only the audit log holds; empty if the log does not verify."""

    reopened: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By version: the requests that this rollback reopened."""
    reasons: dict[int, str] = field(default_factory=dict)
    """By version: the reason given for this rollback."""
    compared: dict[tuple[str, str], str] = field(default_factory=dict)
    """By evaluator and digest of its inputs: what was compared with, ``base``, a version number or ``file``."""
    waived: dict[int, VersionWaiver] = field(default_factory=dict)
    """By version: quality gates that it misses and a person waived."""
    reasons_to_waive: dict[int, str] = field(default_factory=dict)
    """By request: the reason given when its gates were waived."""
    happenings: list[Happening] = field(default_factory=list)
    """Exports, certificates and purges, oldest first."""
