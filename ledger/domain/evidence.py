"""What evaluators measured."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


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
