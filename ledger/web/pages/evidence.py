"""What was measured on a version, laid out: what was not tested first, then levels, then classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from ledger.documents.document import Document
from ledger.domain.levels import EvidenceLevel
from ledger.domain.numbers import finite_number
from ledger.report.charts.words import number


def standing_of(evidence: Document) -> Document:
    """Return the levels that are reached, and those that are not with what each needs."""
    level = evidence["level"]
    reached = [{"title": one.title, "looks_at": one.looks_at} for one in EvidenceLevel if _is_told(one, level)]
    missing = [
        {"title": one.title, "looks_at": one.looks_at, "needs": evidence["not_tested"][one.title]}
        for one in EvidenceLevel
        if one.title in evidence["not_tested"]
    ]
    return {"reached": reached, "missing": missing}


def class_rows(labels: Sequence[str], forgotten: Sequence[str], items: Sequence[Document]) -> list[Document]:
    """Return how well test images of each class are recognised, the forgotten ones first; nothing if not measured."""
    accuracy = next((one for one in items if one["evaluator"] == "accuracy"), None)
    if accuracy is None:
        return []
    after, before = (_per_class(accuracy["metrics"], name) for name in ("test", "base_test"))
    rows = []
    for index, label in enumerate(labels):
        was, now = _share(before, index), _share(after, index)
        change = None if was is None or now is None else now - was
        rows.append({"label": label, "forgotten": label in forgotten, "before": was, "after": now, "change": change})
    return sorted(rows, key=lambda row: (not row["forgotten"], row["change"] is None, row["change"] or 0.0))


def headline_figures(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the single numbers among what an evaluator measured."""
    numbers = ((name, finite_number(value)) for name, value in metrics.items())
    return [(name.replace("_", " "), number(value)) for name, value in numbers if value is not None]


def _per_class(metrics: Mapping[str, Any], name: str) -> Sequence[Any]:
    split = metrics.get(name)
    shares = split.get("per_class") if isinstance(split, Mapping) else None
    return shares if isinstance(shares, Sequence) else ()


def _share(shares: Sequence[Any], index: int) -> float | None:
    return finite_number(shares[index]) if index < len(shares) else None


def _is_told(one: EvidenceLevel, level: int) -> bool:
    # That nothing was measured is told only where it is so.
    return one.value == level or EvidenceLevel.APPLIED < one.value < level
