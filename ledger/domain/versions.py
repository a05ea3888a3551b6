"""Versions of a model, and the alias that names the version in use."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from .chance import was_known
from .recipe import VersionRecipe
from .registered_accuracy import Count

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


def not_known_before(versions: Iterable[Version], forgotten: frozenset[int], classes: int) -> frozenset[int]:
    """Return the forgotten classes of which the registered weights knew nothing, as far as recipes tell.

    The recipe that says first how well a class was recognised counts: after a purge, computations start from weights
    that have forgotten it.

    Args:
        versions: All versions of the model, oldest first.
        forgotten: The classes.
        classes: Number of the model's classes.
    """
    counts: dict[int, Count] = {}
    for version in versions:
        for k, count in version.recipe.base_forgotten.items():
            counts.setdefault(k, count)
    return frozenset(
        k for k in forgotten if k in counts and not was_known(counts[k].correct, counts[k].images, classes)
    )
