"""What exporters are given: which version is live, what is known of it, and its files. Importing it loads nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class LiveFacts:
    """A version that is live."""

    model: str
    """Name of the model: letters, digits, ``_``, ``.`` and ``-``, and no folder above."""
    version: int
    weights: str
    """SHA-256 of the weights file. Several versions may have the same weights: those that a rollback brought back."""
    kind: str
    """Why it was made: ``base``, ``forget``, ``withdraw`` or ``rollback``."""
    live_since: datetime
    tags: Mapping[str, str]
    """What is known of it, by names that begin with ``unledger.``: what it has forgotten, its level of evidence, its
    certificates."""


@dataclass(frozen=True)
class LiveVersion:
    """A version that is live, with its files."""

    facts: LiveFacts
    files: Mapping[str, bytes]
    """Contents by name: ``model.safetensors``, ``config.json``, ``README.md``."""
