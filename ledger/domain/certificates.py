"""Stored certificates, and versions as a certificate lists them."""

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
    """Index, label and salt of each class, which open the commitments; None once they were erased."""
    audit_seq: int
    """Number of the audit entry that records it."""
    created_at: datetime


@dataclass(frozen=True)
class KnownVersion:
    """A version of a model, with what a certificate says about copies of its weights."""

    number: int
    weights: str
    """SHA-256 of the weights file."""
    forgotten: frozenset[int]
    aliases: tuple[str, ...]
    destroyed_at: datetime | None
    """When its weights were destroyed; None while they are kept."""
    quarantined: str | None
    """What is wrong with its stored objects; None while nothing is."""
