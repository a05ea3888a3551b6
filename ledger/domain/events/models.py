"""Events that concern a model, and the class spaces that are collected for it."""

from dataclasses import dataclass, field
from typing import ClassVar

from .event import Event, EventKind, key


@dataclass(frozen=True, kw_only=True)
class ModelRegistered(Event):
    """Written when a model is registered, before the entry of its version 0."""

    kind: ClassVar[str] = EventKind.MODEL_REGISTERED
    architecture: str
    """What the model loader builds, e.g. ``timm/resnet18``."""
    weights: str
    """SHA-256 of the registered weights."""
    data: str
    """Digest of the images, as their data source states it."""
    classes: int
    """Number of classes."""
    setup: str | None = None
    """Digest of options, preprocessing and settings. Absent before replay covered them."""
    code: str | None = None
    """Digest of the source code that builds the network, where there is any."""
    unhandled_allowed: int | None = None
    """Number of weights that may stay unedited although no layer handler covers them."""
    plugins: tuple[str, ...] | None = None
    """Name and version of the plugins that built the network and opened the images."""
    row: str | None = None
    """Digest of the stored row, labels and data specification included. Absent before replay covered them."""
    test_images: int | None = None
    """Number of test images that the registered weights were tried on."""
    test_correct: int | None = None
    """Number of those that were recognised."""
    accuracy_accepted: bool = False
    """Whether a person accepted an accuracy that would have been refused."""
    outputs: str | None = None
    """What the network returns, if that is not logits, which a person accepted unless they are log-probabilities."""


@dataclass(frozen=True, kw_only=True)
class ModelDataChanged(Event):
    """Written when a model is bound to its images and its code again: they moved, or a person accepts what changed.

    The reason that a person gives is the entry's note.
    """

    kind: ClassVar[str] = EventKind.MODEL_DATA_CHANGED
    previous: str = field(metadata=key("from"))
    """Digest of the images before."""
    data: str
    """Digest of the images from now on."""
    row: str | None = None
    """Digest of the stored row from now on. Absent before replay covered it."""
    changed: tuple[tuple[int, int, int, int, int], ...] = ()
    """Of each class whose images are others now: class index, training images before and now, test images before and
    now."""
    gone: tuple[int, ...] = ()
    """Classes whose images are no longer there, while their class spaces are kept."""
    skipped: int = 0
    """Number of files that are left out since they cannot be read."""
    architecture: str | None = None
    """What the model loader builds from now on, where that changed."""
    code: str | None = None
    """Digest of the source code that was accepted, where it changed."""


@dataclass(frozen=True, kw_only=True)
class ModelPurged(Event):
    """Written when a purge begins: from then on nobody gets the weights of these versions.

    Each destroyed object has an entry of its own, :class:`~ledger.domain.events.ledgers.ObjectDestroyed`.
    """

    kind: ClassVar[str] = EventKind.MODEL_PURGED
    anchor: int
    """The oldest version that is kept: later computations start from its weights."""
    versions: tuple[int, ...]
    """The versions whose weights go, oldest first."""
    final: tuple[int, ...]
    """Fulfilled requests that can no longer be withdrawn."""


@dataclass(frozen=True, kw_only=True)
class ModelRolledBack(Event):
    """Written when a person rolls back, after the entry of the version that the rollback makes."""

    kind: ClassVar[str] = EventKind.MODEL_ROLLED_BACK
    version: int
    """The new version."""
    restores: int
    """The earlier version whose weights it has."""
    reopened: tuple[int, ...]
    """Requests that the restored version does not fulfil."""


@dataclass(frozen=True, kw_only=True)
class ClassSpaceCollected(Event):
    """Written when the statistics of one class are collected and stored, or collected again after they were damaged."""

    kind: ClassVar[str] = EventKind.CLASS_SPACE_COLLECTED
    class_index: int = field(metadata=key("class"))
    """Index of the class."""
    images: int
    """Number of images that were read."""
    samples: str
    """Digest of the images as the network saw them."""
    spec: str
    """Digest of everything that decides the stored bytes, beside the machine."""
    blob: str
    """SHA-256 of the stored bytes."""
    size: int | None = None
    """Number of the stored bytes. Absent before replay covered it."""
    row: str | None = None
    """Digest of the stored row, sample indices and maps included. Absent before replay covered it."""


@dataclass(frozen=True, kw_only=True)
class ResultKept(Event):
    """Written when something that can be computed again is stored, in the place of what was stored before.

    Each object that is destroyed because of it has an entry of its own,
    :class:`~ledger.domain.events.ledgers.ObjectDestroyed`.
    """

    kind: ClassVar[str] = EventKind.RESULT_KEPT
    result: str
    """What it is: a :class:`~ledger.domain.kept_results.ResultKind`."""
    anchor: int
    """The version whose weights it was computed from."""
    classes: int
    """Number of classes in it."""
    parts: tuple[tuple[str, int], ...]
    """SHA-256 and number of bytes of each of its objects."""
    row: str
    """Digest of the stored row: the classes, and what each part was computed from, included."""


@dataclass(frozen=True, kw_only=True)
class ModelAdopted(Event):
    """Written when a person binds to the audit log what earlier releases stored without a digest in any entry."""

    kind: ClassVar[str] = EventKind.MODEL_ADOPTED
    row: str
    """Digest of the model's row."""
    class_spaces: tuple[tuple[int, str, str], ...]
    """Of each class space: class index, digest of its specification, digest of its row."""
    bases: tuple[tuple[int, str], ...]
    """Of each version: number, digest of its bases."""
    evidence: tuple[tuple[int, tuple[str, ...]], ...]
    """Of each version that was measured: number, digests of the rows in the order they were recorded."""
    keys: tuple[tuple[int, str], ...]
    """Of each request with an idempotency key: number, digest of the key."""
