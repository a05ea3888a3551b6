"""A registered model: architecture, labels, preprocessing, data, settings."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

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
    """Digest of the class lists and file names (or arrays) that the data specification names."""
    settings: Settings
    created_at: datetime


@dataclass(frozen=True)
class Model(NewModel):
    """A registered model."""

    id: int
    anchor: int = 0
    """Number of the version that computations start from: 0, or after a purge the oldest version that is left."""
