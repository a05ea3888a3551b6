"""Events that concern a ledger as a whole, its stored objects and its certificates."""

from dataclasses import dataclass
from typing import ClassVar

from .event import Event, EventKind


@dataclass(frozen=True, kw_only=True)
class LedgerCreated(Event):
    """Written when a ledger is created, as its first entry."""

    kind: ClassVar[str] = EventKind.LEDGER_CREATED
    key: str | None = None
    """Public half of the signing key, ``NAME+HASH+BASE64``. Absent before there were signed checkpoints."""


@dataclass(frozen=True, kw_only=True)
class LedgerRecovered(Event):
    """Written when a person goes on with an older database, because the newer one is lost."""

    kind: ClassVar[str] = EventKind.LEDGER_RECOVERED
    size: int
    """Entries that the older database had."""
    lost: int
    """Entries that the lost checkpoint signed."""
    root: str
    """Root of its tree, hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class ObjectDestroyed(Event):
    """Written when a stored object's key and bytes were destroyed, by a purge or because another took its place."""

    kind: ClassVar[str] = EventKind.OBJECT_DESTROYED
    object: str
    """SHA-256 of the bytes that are gone."""


@dataclass(frozen=True, kw_only=True)
class CertificateIssued(Event):
    """Written when a certificate is signed, in the transaction that stores it."""

    kind: ClassVar[str] = EventKind.CERTIFICATE_ISSUED
    certificate: int
    """Number of the certificate."""
    version: int
    """The version that it is about."""
    envelope: str
    """SHA-256 of the signed envelope."""


@dataclass(frozen=True, kw_only=True)
class CertificateOpeningsErased(Event):
    """Written when the salts that show a certificate's classes are erased."""

    kind: ClassVar[str] = EventKind.CERTIFICATE_OPENINGS_ERASED
    certificate: int
    """Number of the certificate."""
