"""What questions are asked with, and what is not a document among the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

ModelKey = str | int
"""A model's name, or its number."""


@dataclass(frozen=True)
class FiledRequest:
    """A request as whoever files it says it."""

    classes: Sequence[str]
    """Labels, or indices behind ``index:``."""
    reason: str = ""
    basis: str = ""
    external_id: str = ""
    received_at: datetime | None = None
    due_at: datetime | None = None
    idempotency_key: str | None = None
    preview: Mapping[str, Any] | None = None
    """The document of the preview that it is bound to."""


@dataclass(frozen=True)
class ReportFiles:
    """A report on one model."""

    page: str
    """As HTML."""
    tables: Mapping[str, str]
    """The numbers behind its pictures, as CSV, by name of the file."""
