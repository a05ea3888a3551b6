"""What the ledger knows: models, versions, requests, class spaces, evidence, audit events."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from .labels import LabelMap
from .settings import Preprocessing, Settings
from .states import OPEN_STATES, RequestState

LIVE = "live"
"""The alias that names the version in use."""


@dataclass(frozen=True)
class Architecture:
    """How to build the network that the weights fit."""

    spec: str
    """``timm/ARCH``, ``pkg.mod:factory`` or ``FILE.py:factory``."""
    options: dict[str, Any]
    """Keyword arguments of the builder, beside the number of classes."""


@dataclass(frozen=True)
class Model:
    """A registered network: architecture, base weights, labels, preprocessing, data, settings."""

    id: int
    name: str
    architecture: Architecture
    labels: LabelMap
    preprocessing: Preprocessing
    data_spec: str
    data_digest: str
    """Digest of the class lists and file names (or arrays) that the data specification named."""
    settings: Settings
    created_at: datetime
    anchor: int = 0
    """The version that computations start from: 0, or the oldest one that a purge left."""


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
    """The version whose bytes a rollback brought back."""
    forgotten: frozenset[int]
    weights: str
    """SHA-256 of the safetensors file."""
    recipe: dict[str, Any]
    """Alphas, search scores, per-map changes, seeds, threads and library versions."""
    created_at: datetime
    quarantined: str | None = None
    """What is wrong with its stored objects; None while nothing is."""
    purged_at: datetime | None = None
    """When its weights were destroyed; None while they are kept."""


@dataclass(frozen=True)
class AliasMove:
    """One move of an alias: what answers "what was live on that day"."""

    alias: str
    version: int
    previous: int | None
    moved_at: datetime
    audit_seq: int


@dataclass(frozen=True)
class NewRequest:
    """A request as it is filed."""

    classes: frozenset[int]
    actor: str
    reason: str = ""
    basis: str = ""
    external_id: str = ""
    received_at: datetime | None = None
    due_at: datetime | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Request:
    """A request as the ledger holds it."""

    id: int
    model_id: int
    classes: frozenset[int]
    state: RequestState
    actor: str
    reason: str
    basis: str
    external_id: str
    received_at: datetime
    due_at: datetime
    created_at: datetime
    updated_at: datetime
    version: int | None
    """The version that fulfilled it."""
    no_op: bool
    """The classes were already forgotten when it was fulfilled, so no version was made."""
    gates_waived: bool
    attempts: int
    lease_owner: str | None
    lease_epoch: int
    outcome: str
    """What a person should know about how it ended: denial reason, failure, gate."""

    @property
    def is_open(self) -> bool:
        """Whether somebody still waits for it."""
        return self.state in OPEN_STATES


@dataclass(frozen=True)
class Worker:
    """A worker that stays, and when it was last heard of."""

    owner: str
    model: str | None
    """The only model it works for; None for all."""
    started_at: datetime
    idle: float
    """Seconds since it was heard of, on the database's clock."""


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
class ClassSpace:
    """A stored class space: one class, every linear map, one sample specification."""

    id: int
    model_id: int
    class_index: int
    spec_digest: str
    """Digest of everything that decides the bytes: samples, seed, rows, rank."""
    samples: tuple[int, ...]
    """Indices into the training split, in collection order."""
    samples_digest: str
    """SHA-256 over the preprocessed images."""
    blob: str
    size: int
    maps: tuple[MapSummary, ...]
    created_at: datetime
    anchor: int = 0
    """The version whose weights it was collected from."""


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


@dataclass(frozen=True)
class Evidence:
    """What one evaluator measured on one version."""

    evaluator: str
    plugin: str
    plugin_version: str
    metrics: dict[str, Any]
    samples: dict[str, int]
    inputs_digest: str
    created_at: datetime


@dataclass(frozen=True)
class AuditEvent:
    """One entry of the audit history."""

    seq: int
    at: datetime
    kind: str
    actor: str
    model: str | None
    request_id: int | None
    data: dict[str, Any]
    leaf: str
    """The canonical JSON text that is hashed."""
    digest: str
    note: str | None = None
    """Free text that belongs to the event and is kept outside the hashed leaf."""
