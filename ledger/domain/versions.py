"""Versions of a model, and the alias that names the version in use."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from .recipe import VersionRecipe

LIVE = "live"
"""The alias that names the version in use."""


class VersionKind(StrEnum):
    """Why a version was made."""

    BASE = "base"
    FORGET = "forget"
    WITHDRAW = "withdraw"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Version:
    """One immutable state of a model's weights."""

    model_id: int
    number: int
    """0 for the registered weights, then 1, 2, ... without gaps."""
    parent: int | None
    kind: VersionKind
    request_id: int | None
    restores: int | None
    """Number of the version whose weights a rollback restored; None for other kinds."""
    forgotten: frozenset[int]
    weights: str
    """SHA-256 of the weights file (safetensors)."""
    recipe: VersionRecipe
    """How its weights were computed."""
    created_at: datetime
    quarantined: str | None = None
    """What is wrong with its stored objects; None while nothing is."""
    purged_at: datetime | None = None
    """When its weights were destroyed; None while they are kept."""


@dataclass(frozen=True)
class AliasMove:
    """One move of an alias. All moves together tell which version was live on a given day."""

    alias: str
    version: int
    previous: int | None
    moved_at: datetime
    audit_seq: int
