"""The lines of the comparison, their gaps to networks that never saw the class, and the tables made of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from scorecard import Figures
from tables import markdown

ORIGINAL, RETRAINED = "original", "retrained without it"
GAPS = {"probe": "probe_gap", "probe_sgd": "probe_sgd_gap", "nearest": "nearest_gap"}
"""Figures of one network that are compared with a retrained one's, and what the differences are called."""


@dataclass(frozen=True)
class Line:
    """Figures of some weights."""

    method: str
    forgotten: str
    seed: int
    figures: Figures
    cost: Figures


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    figure: str
    factor: float = 100.0
    """1 for figures that are no shares."""
    digits: int = 1
    gather: Callable[[Iterable[float]], float] = mean
    """How lines become one: their mean, or the largest."""
    sign: str = ""

    def cell(self, lines: Sequence[Line]) -> str:
        """Return what some lines say, as text; empty if none of them knows."""
        known = [value for line in lines if (value := {**line.figures, **line.cost}.get(self.figure)) is not None]
        if not known:
            return ""
        # Not "-0.0": rounding is not a finding.
        value = round(self.factor * self.gather(known), self.digits) + 0.0
        return format(value, f"{self.sign}.{self.digits}f")


TABLES: dict[str, tuple[Column, ...]] = {
    "Answers": (
        Column("forgotten %", "forgotten"),
        Column("worst", "forgotten", gather=max),
        Column("loss against the mask, points", "loss", digits=2, sign="+"),
        Column("worst class", "worst_loss", gather=max, sign="+"),
        Column("JS to retrained", "js", factor=1, digits=3),
        Column("TV", "tv", factor=1, digits=2),
        Column("row cosine", "row_cosine", factor=1, digits=2),
        Column("Spearman", "row_spearman", factor=1, digits=2),
    ),
    "Features": (
        Column("probe %", "probe"),
        Column("gap", "probe_gap"),
        Column("SGD probe %", "probe_sgd"),
        Column("gap", "probe_sgd_gap"),
        Column("nearest mean %", "nearest"),
        Column("gap", "nearest_gap"),
        Column("CKA to retrained, forgotten", "cka_forgotten", factor=1, digits=2),
        Column("retained", "cka_retained", factor=1, digits=2),
    ),
    "Attacks and relearning": (
        Column("SVM, paper %", "svm_paper"),
        Column("SVM, SalUn %", "svm_salun"),
        Column("RMIA AUC", "rmia_auc", factor=1, digits=2),
        Column("TPR at 1 % FPR, %", "rmia_tpr"),
        Column("5-shot %", "five_shot"),
        Column("retain-only tuning %", "retained_tuning"),
        Column("few steps %", "few_steps"),
        Column("BatchNorm anew %", "statistics"),
    ),
    "Cost": (
        Column("processor seconds", "seconds", factor=1),
        Column("images forward", "forward", factor=1, digits=0),
        Column("last layers only", "partial", factor=1, digits=0),
        Column("images back", "backward", factor=1, digits=0),
    ),
}


def with_gaps(lines: Sequence[Line]) -> list[Line]:
    """Add to each line how far it is from the mean of the networks that never saw its class.

    Of such a network itself: how far it is from the others, if there are any.
    """
    found = []
    for line in lines:
        others = [
            one for one in lines if (one.method, one.forgotten) == (RETRAINED, line.forgotten) and one is not line
        ]
        gaps: Figures = {}
        for name, gap in GAPS.items():
            value, theirs = line.figures.get(name), [v for one in others if (v := one.figures.get(name)) is not None]
            gaps[gap] = abs(value - mean(theirs)) if value is not None and theirs else None
        found.append(Line(line.method, line.forgotten, line.seed, {**line.figures, **gaps}, line.cost))
    return found


def tables(lines: Sequence[Line]) -> str:
    """Return all tables as Markdown, one row for each method over all classes and seeds; empty columns are left out."""
    methods = list(dict.fromkeys(line.method for line in lines))
    parts = []
    for title, columns in TABLES.items():
        rows = [(m, *(c.cell([line for line in lines if line.method == m]) for c in columns)) for m in methods]
        used = [0, *(n for n in range(1, len(columns) + 1) if any(row[n] for row in rows))]
        if len(used) == 1:
            continue
        header = ["weights", *(column.title for column in columns)]
        parts.append(f"{title}:\n\n{markdown([header[n] for n in used], [[row[n] for n in used] for row in rows])}")
    return "\n\n".join(parts)
