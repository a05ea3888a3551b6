"""A registered model: architecture, labels, preprocessing, data, settings."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .labels import LabelMap
from .settings import Preprocessing, Settings


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
