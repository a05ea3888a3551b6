"""A gate that new weights do not pass: what stands between them and becoming a version, unless a person waives it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .conditions import Condition, MeasuredValue, plain_number
from .evidence import WeightsEvidence
from .gate_policy import GatePolicy
from .levels import EvidenceLevel

FORGOTTEN_GATE, RETAINED_GATE = "max_forgotten_accuracy", "max_retained_drop"
"""The two gates on calibration images, as the settings of a model call them."""
LEVEL_GATE = "level"
"""The level of evidence that a policy asks for."""
MOST_NAMED = 3
"""Classes that a sentence names."""


@dataclass(frozen=True)
class MissedGate:
    """One gate, and by how much it was missed."""

    gate: str
    """The gate as the history and certificates name it: a setting, a condition, or a level. It names no class."""
    told: str
    """A sentence for a person, with the figures and the classes."""


def missed_conditions(policy: GatePolicy, evidence: WeightsEvidence, labels: Sequence[str]) -> list[MissedGate]:
    """Return which conditions of a policy do not hold, in its order; one that nothing was measured for does not hold.

    Args:
        policy: The policy.
        evidence: What was measured on the weights; what counts is the comparison with the original.
        labels: The model's classes.
    """
    measured = {name: one.metrics for name, one in evidence.standing.items()}
    missed = list(_missed_level(policy.level, evidence))
    for condition in policy.conditions:
        figures = condition.figures(measured, labels)
        if not figures:
            missed.append(_unmeasured(condition, measured, compared=bool(evidence.beside_retrained)))
        elif wrong := condition.missed_by(figures):
            missed.append(MissedGate(str(condition), f"{_told(condition, wrong)}, the gate asks for {condition}"))
    return missed


def _missed_level(level: EvidenceLevel, evidence: WeightsEvidence) -> Iterable[MissedGate]:
    if evidence.level < level:
        needs = ", ".join(evidence.missing(level))
        yield MissedGate(
            f"{LEVEL_GATE} >= {level.value}",
            f"the evidence reaches {evidence.level.title}, the gate asks for {level.title}, which needs: {needs}",
        )


def _told(condition: Condition, wrong: Sequence[MeasuredValue]) -> str:
    worst = [f"{one.of} {number(one.value)}" if one.of else number(one.value) for one in wrong[:MOST_NAMED]]
    more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
    return f"{condition.metric} is {', '.join(worst)}{more}"


def number(value: float) -> str:
    """Return a figure for a sentence: four digits are enough to see by how much it is off."""
    return plain_number(float(f"{value:.4g}"))


def _unmeasured(condition: Condition, measured: Mapping[str, Mapping[str, Any]], *, compared: bool) -> MissedGate:
    evaluator, *path = condition.path
    if evaluator not in measured:
        why = f"the evaluator {evaluator} did not measure"
    elif not compared and path[-1].endswith(("_gap", "_retrained")) and measured[evaluator].get(path[0], 0) is None:
        why = "it needs weights retrained without just these classes, declared in unledger.toml (docs/gates.md)"
    else:
        offered = ", ".join(sorted(measured[evaluator])[:12])
        why = f"the evaluator {evaluator} reports no number at {'.'.join(path)}; it reports {offered}"
        if not compared:
            why += "; some figures need weights retrained without just these classes (docs/gates.md)"
    return MissedGate(str(condition), f"{condition.metric} was not measured, the gate asks for {condition}: {why}")
