"""Conditions on what evaluators measure: the clauses of a gate policy.

A condition is a line such as ``loss_against_mask <= 0.02``: a metric, an operator, a number. The metric is a bare name,
which stands for a figure that evaluators of this package report at their top level, or a path from an evaluator's name
to the figure, ``accuracy.test.retained``. Where the figure is a list or a mapping, one value for each class, the
condition holds if it holds for every value that is there: an evaluator writes None for classes that a metric is not
about. Of a list each class is told by its label.
"""

import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from ledger.errors import UsageError

FIGURES: Mapping[str, tuple[str, ...]] = {
    "accuracy": (
        "loss_against_mask",
        "worst_class_loss",
        "loss_against_retrained",
        "retained_drop",
        "forgotten_accuracy",
    ),
    "divergence": ("tv_masked", "js_masked", "kl_masked", "tv_retrained", "js_retrained", "kl_retrained"),
    "probe": (
        "probe_gap",
        "probe_fall",
        "probe_forgotten",
        "probe_sgd_gap",
        "probe_sgd_fall",
        "probe_sgd_forgotten",
    ),
    "nearest_mean": ("nearest_mean_gap", "nearest_mean_fall", "nearest_mean_forgotten"),
    "similarity": (
        "cka_forgotten_original",
        "cka_retained_original",
        "cka_forgotten_retrained",
        "cka_retained_retrained",
    ),
    "rmia": (
        "rmia_auc",
        "rmia_auc_low",
        "rmia_auc_high",
        "rmia_tpr_at_1_percent",
        "rmia_tpr_at_0_1_percent",
        "rmia_gap",
    ),
    "neighbours": ("neighbour_auc", "neighbour_gap"),
    "relearning": (
        "retained_tuning_return",
        "retained_tuning_gap",
        "one_shot_return",
        "one_shot_gap",
        "five_shot_return",
        "five_shot_gap",
        "few_steps_return",
        "few_steps_gap",
    ),
    "statistics": ("statistics_return", "statistics_gain", "statistics_gap"),
}
"""Figures that evaluators of this package report at their top level, by evaluator: no two have one of the same name."""
BARE_NAMES: Mapping[str, str] = {figure: evaluator for evaluator, figures in FIGURES.items() for figure in figures}
"""The evaluator of each figure that a condition may name without it."""
EXAMPLE = "e.g. loss_against_mask <= 0.02"
_SHAPE = re.compile(r"\s*(?P<metric>[^\s<>=!]+)\s*(?P<operator>[<>=!≤≥]+)\s*(?P<bound>\S+)\s*")
_METRIC = re.compile(r"[A-Za-z_][\w-]*(\.[\w@-]+)*")
_MEANT = {"=<": "<=", "=>": ">=", "≤": "<=", "≥": ">=", "=": "<=", "==": "<="}


class Operator(StrEnum):
    """How a figure is compared with a bound."""

    AT_MOST = "<="
    BELOW = "<"
    AT_LEAST = ">="
    ABOVE = ">"

    def holds(self, figure: float, bound: float) -> bool:
        """Whether a figure is on the right side of a bound."""
        match self:
            case Operator.AT_MOST:
                return figure <= bound
            case Operator.BELOW:
                return figure < bound
            case Operator.AT_LEAST:
                return figure >= bound
            case Operator.ABOVE:
                return figure > bound

    @property
    def is_upper(self) -> bool:
        """Whether it bounds a figure from above."""
        return self in (Operator.AT_MOST, Operator.BELOW)


class MeasuredValue(NamedTuple):
    """One measured value."""

    of: str
    """Whose it is: a class's label, or empty where it is not one of several."""
    value: float


@dataclass(frozen=True)
class Condition:
    """One clause: a metric, an operator and a number."""

    metric: str
    """As it was written: a bare name, or a path that begins with an evaluator's name."""
    operator: Operator
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read a condition as a person writes it.

        Raises:
            UsageError: It is none; the hint says what was probably meant.
        """
        found = _SHAPE.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is no condition: it has to be a metric, an operator and a number", f"{EXAMPLE}")
        metric, operator, bound = found["metric"], found["operator"], found["bound"]
        if operator not in set(Operator):
            meant = _MEANT.get(operator)
            raise UsageError(
                f"{operator!r} in the condition {text!r} is no operator: there are {', '.join(Operator)}",
                f"write {metric} {meant} {bound}" if meant else EXAMPLE,
            )
        _require_metric(metric, text)
        return cls(metric, Operator(operator), _number(bound, text))

    def __str__(self) -> str:
        return f"{self.metric} {self.operator.value} {plain_number(self.bound)}"

    @property
    def evaluator(self) -> str:
        """Name of the evaluator that has to measure for it."""
        return self.path[0]

    @property
    def path(self) -> tuple[str, ...]:
        """Names that lead to the figure, the evaluator's first."""
        owner = BARE_NAMES.get(self.metric)
        return tuple(self.metric.split(".")) if owner is None else (owner, self.metric)

    @property
    def bounds(self) -> tuple[tuple[str, ...], bool]:
        """What it bounds, and whether from above: of two conditions that agree in this, one makes the other moot."""
        return self.path, self.operator.is_upper

    def figures(self, measured: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> list[MeasuredValue]:
        """Return the values that it is about; none where they were not measured.

        Args:
            measured: Metrics by evaluator.
            labels: The model's classes, in the order of lists that have one value for each class.
        """
        value: Any = measured
        for name in self.path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            named = [(str(name), one) for name, one in value.items()]
        elif isinstance(value, list):
            whose = labels if len(labels) == len(value) else [str(position) for position in range(len(value))]
            named = list(zip(whose, value, strict=True))
        else:
            named = [("", value)]
        return [MeasuredValue(name, float(one)) for name, one in named if _is_number(one)]

    def missed_by(self, figures: Collection[MeasuredValue]) -> list[MeasuredValue]:
        """Return the values that are on the wrong side, the worst first."""
        wrong = [figure for figure in figures if not self.operator.holds(figure.value, self.bound)]
        return sorted(wrong, key=lambda figure: figure.value, reverse=self.operator.is_upper)


def plain_number(value: float) -> str:
    """Return a number as shortly as it can be written and read again without loss."""
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 10**15 else repr(value)


def _require_metric(metric: str, text: str) -> None:
    if _METRIC.fullmatch(metric) is None:
        raise UsageError(
            f"{metric!r} in the condition {text!r} is no metric: a name has letters, digits, _ and -, and dots between",
            EXAMPLE,
        )
    if "." in metric or metric in BARE_NAMES:
        return
    near = difflib.get_close_matches(metric, BARE_NAMES, n=1)
    raise UsageError(
        f"no metric is called {metric!r}",
        f"did you mean {near[0]}?"
        if near
        else f"name it with its evaluator, EVALUATOR.{metric}, or use one of {', '.join(FIGURES['accuracy'])}, ...",
    )


def _number(bound: str, text: str) -> float:
    try:
        value = float(bound)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in bound:
        share = bound.removesuffix("%")
        hint = f"a share is written as {float(share) / 100:g}" if bound != share and share.isdecimal() else EXAMPLE
        raise UsageError(f"{bound!r} in the condition {text!r} is no finite number", hint)
    # There is one zero.
    return value + 0.0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
