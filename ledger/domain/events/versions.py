"""Events that concern one version of a model."""

from dataclasses import dataclass, field
from typing import ClassVar

from ledger.domain.versions import VersionKind

from .event import Event, EventKind, key


@dataclass(frozen=True, kw_only=True)
class VersionCreated(Event):
    """Written when a version is made and becomes live."""

    kind: ClassVar[str] = EventKind.VERSION_CREATED
    version: int
    """Number of the version."""
    parent: int | None
    """The version that was live before; null for version 0."""
    version_kind: VersionKind = field(metadata=key("kind"))
    """Why the version was made."""
    forgotten: tuple[int, ...]
    """Indices of the classes that it has forgotten, ascending."""
    weights: str
    """SHA-256 of its weights file."""
    recipe: str | None = None
    """Digest of its recipe. Absent before replay covered it."""
    restores: int | None = None
    """Of a rollback: the version whose weights it has."""
    size: int | None = None
    """Number of bytes of its weights file. Absent before replay covered it."""
    basis: str | None = None
    """Digest of the class spaces that its bases are sums of. Absent before replay covered them."""


@dataclass(frozen=True, kw_only=True)
class VersionEvaluated(Event):
    """Written when an evaluator has measured a version, once for each evaluator."""

    kind: ClassVar[str] = EventKind.VERSION_EVALUATED
    version: int
    """Number of the version."""
    evaluator: str
    """Name of the evaluator."""
    plugin: str
    """Name of the plugin that offers it."""
    plugin_version: str
    """Version of that plugin."""
    metrics: str
    """Digest of what it found."""
    inputs: str
    """Digest of what it was given: both weights, the data and the number of images."""
    against: str
    """What the version was compared with: ``base`` (version 0), a version's number, or ``file``."""
    row: str | None = None
    """Digest of the stored row, image counts included. Absent before replay covered them."""


@dataclass(frozen=True, kw_only=True)
class VersionExported(Event):
    """Written when a copy of a version leaves the ledger, before its files are written."""

    kind: ClassVar[str] = EventKind.VERSION_EXPORTED
    version: int
    """Number of the version."""
    weights: str
    """SHA-256 of its weights file."""


@dataclass(frozen=True, kw_only=True)
class VersionQuarantined(Event):
    """Written when a check finds the stored weights of a version missing or damaged."""

    kind: ClassVar[str] = EventKind.VERSION_QUARANTINED
    version: int
    """Number of the version."""
    weights: str
    """SHA-256 that its weights file should have."""
    fault: str
    """What is wrong in a word or two, e.g. ``missing`` or ``altered``."""


@dataclass(frozen=True, kw_only=True)
class VersionReleased(Event):
    """Written when a check finds the weights of a quarantined version whole again."""

    kind: ClassVar[str] = EventKind.VERSION_RELEASED
    version: int
    """Number of the version."""
    weights: str
    """SHA-256 of its weights file."""
