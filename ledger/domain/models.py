"""A registered model: architecture, labels, preprocessing, data, settings."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .data_record import DataRecord
from .labels import LabelMap
from .settings import Preprocessing, Settings


@dataclass(frozen=True)
class Architecture:
    """How to build the network that the weights belong to."""

    spec: str
    """``timm/ARCH``, ``pkg.mod:factory`` or ``FILE.py:factory``."""
    options: dict[str, Any]
    """Keyword arguments of the builder, besides the number of classes."""


@dataclass(frozen=True)
class NewModel:
    """A model to register: architecture, labels, preprocessing, data, settings."""

    name: str
    architecture: Architecture
    labels: LabelMap
    preprocessing: Preprocessing
    data_spec: str
    data_digest: str
    """Digest of the images that the data specification names."""
    settings: Settings
    created_at: datetime
    data: DataRecord = field(default_factory=DataRecord, kw_only=True)
    """What each class consists of, and how files are read."""
    code_digest: str | None = field(default=None, kw_only=True)
    """Digest of the code that was accepted in the place of what registration found; None if none was."""


@dataclass(frozen=True)
class Model(NewModel):
    """A registered model."""

    id: int
    anchor: int = 0
    """Number of the version that computations start from: 0, or after a purge the oldest version that is left."""
