"""Evidence: the measurements of evaluators."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Evidence:
    """The measurements of one evaluator on one version."""

    evaluator: str
    plugin: str
    """Name of the plugin that offers the evaluator."""
    plugin_version: str
    metrics: dict[str, Any]
    """The evaluator's results, as plain JSON values."""
    samples: dict[str, int]
    """Number of images, by what they were used for."""
    inputs_digest: str
    """Digest of the inputs: both weights, the data and the numbers of images."""
    created_at: datetime
