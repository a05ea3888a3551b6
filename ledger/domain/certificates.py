"""Certificates as the ledger keeps them, and what it knows of the copies that still hold a class."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Certificate:
    """A signed statement about a fulfilled request."""

    id: int
    request_id: int
    version: int
    envelope: str
    """The DSSE envelope, canonical JSON."""
    openings: tuple[dict[str, Any], ...] | None
    """What opens the commitments to classes; None once it was erased."""
    audit_seq: int
    """The entry of the history that records it."""
    created_at: datetime


@dataclass(frozen=True)
class KnownVersion:
    """One version of a model, as far as copies are concerned."""

    number: int
    weights: str
    forgotten: frozenset[int]
    aliases: tuple[str, ...]
    destroyed_at: datetime | None
    """When its weights were destroyed."""
    quarantined: str | None
    """What is wrong with its stored objects."""
