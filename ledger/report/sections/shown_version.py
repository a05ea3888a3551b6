"""One version as the sections of the page see it: its evidence, its classes, and names for its pictures."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ledger.domain.evidence import Evidence
from ledger.domain.labels import LabelMap
from ledger.domain.versions import Version
from ledger.report.data.metrics import AccuracyMetrics, ConfusionMetrics, read_accuracy
from ledger.report.data.model_report import ModelReport


@dataclass(frozen=True)
class ShownVersion:
    """A version of a report."""

    report: ModelReport
    version: Version

    @property
    def labels(self) -> LabelMap:
        """The model's classes."""
        return self.report.model.labels

    @property
    def forgotten(self) -> frozenset[int]:
        """The classes that the version is to have forgotten."""
        return self.version.forgotten

    @property
    def retained(self) -> list[int]:
        """All other classes."""
        return [k for k in range(len(self.labels)) if k not in self.forgotten]

    @cached_property
    def unknown(self) -> frozenset[int]:
        """Forgotten classes that were not known before."""
        return self.report.not_known_before(self.version)

    @property
    def uid(self) -> str:
        """Beginning of the ids of its pictures."""
        return f"v{self.version.number}"

    def table_name(self, what: str) -> str:
        """Return the name of a table about the version."""
        return f"version-{self.version.number}-{what}"

    @cached_property
    def evidence(self) -> dict[str, Evidence]:
        """What the page shows, by evaluator."""
        return self.report.shown(self.version)

    def metrics(self, evaluator: str) -> dict[str, Any]:
        """Return what an evaluator found; empty if it did not measure the weights."""
        evidence = self.evidence.get(evaluator)
        return evidence.metrics if evidence and isinstance(evidence.metrics, dict) else {}

    def compared(self, evaluator: str) -> str:
        """Return in words what an evaluator compared the version with."""
        evidence = self.evidence.get(evaluator)
        return self.report.compared(evidence) if evidence else "nothing"

    @cached_property
    def accuracy(self) -> AccuracyMetrics | None:
        """What ``accuracy`` found."""
        return read_accuracy(self.metrics("accuracy"), len(self.labels))

    @property
    def confusion(self) -> ConfusionMetrics | None:
        """What ``confusion`` found."""
        return self.report.confusion(self.version)

    def state(self, k: int) -> str:
        """Return in a word or three what has become of a class."""
        if k not in self.forgotten:
            return "retained"
        return "not known before" if k in self.unknown else "forgotten"
