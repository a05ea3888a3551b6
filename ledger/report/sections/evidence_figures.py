"""The evidence on one version as charts, sentences and rows of numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ledger.domain.numbers import finite_number
from ledger.domain.retained_accuracy import PLAIN_ORIGINAL
from ledger.domain.versions import Version
from ledger.report.charts.dumbbells import DumbbellGroup, DumbbellRow, dumbbells
from ledger.report.charts.heatmap import Heatmap, heatmap, legend
from ledger.report.charts.svg import shorten
from ledger.report.charts.words import bare_percent, percent, points
from ledger.report.data.metrics import (
    AccuracyMetrics,
    ClassAccuracies,
    ConfusionMatrix,
    ConfusionMetrics,
    read_accuracy,
    read_confusion,
)
from ledger.report.data.model_report import REGISTERED, ModelReport, VersionEvidence
from ledger.report.data.tables import Table

from .class_selection import SHOW_ALL, ClassSelection, retained_summary, select_classes
from .figure import Figure

MOST_ROWS = 200
"""Classes in the table of numbers; with more classes, the table holds only those that the charts show."""
MOST_HEAT = 15
"""Forgotten classes in the confusion matrix."""
MOST_NAME = 260
"""Width of a name in a sentence, in pixels."""


@dataclass(frozen=True)
class Destination:
    """The answers that a forgotten class's test images get now."""

    name: str
    images: int
    now: tuple[tuple[str, str], ...]
    """The most frequent other answers, each with its share in percent."""
    still: str
    """Share still recognised as this class, in percent."""


@dataclass(frozen=True)
class ClassRow:
    """One class in the table of numbers."""

    name: str
    forgotten: bool
    known_before: bool
    """Whether the registered weights recognised it better than chance."""
    numbers: tuple[str, ...]
    """For test and then training images: accuracies before and after in percent, and the change in points."""


class EvidenceFigures:
    """Draw the evidence on one version.

    Args:
        report: The report that the version belongs to.
        version: The version.
        found: Its evidence.
    """

    def __init__(self, report: ModelReport, version: Version, found: VersionEvidence) -> None:
        self._report = report
        self._found = found
        self._labels = report.model.labels
        self._forgotten = version.forgotten
        self._unknown = report.not_known_before(version)
        self._uid = f"v{version.number}"
        self._name = f"version-{version.number}"
        classes = len(self._labels)
        self._accuracy = read_accuracy(self._metrics("accuracy"), classes)
        self._confusion = read_confusion(self._metrics("confusion"), classes)
        self._selection = self._select(self._accuracy.test) if self._accuracy else None

    def evidence(self) -> Iterator[Figure]:
        """Yield charts of the accuracies on test and training images, and of the answers that changed."""
        yield from self._accuracies()
        if self._confusion is not None and self._confusion.before is not None:
            yield self._heat(self._confusion, self._confusion.before)

    def rows(self) -> Iterator[ClassRow]:
        """Yield the rows of the table of accuracies."""
        if self._accuracy is None or self._selection is None:
            return
        everything = len(self._labels) <= MOST_ROWS
        outside = [k for k in range(len(self._labels)) if k not in self._forgotten]
        shown = (*sorted(self._forgotten), *outside) if everything else self._selection.all
        splits = (self._accuracy.test, self._accuracy.train)
        for k in shown:
            cells = [
                t for s in splits for t in (bare_percent(s.before[k]), bare_percent(s.after[k]), points(s.change(k)))
            ]
            yield ClassRow(self._labels[k], k in self._forgotten, k not in self._unknown, tuple(cells))

    def destinations(self) -> Iterator[Destination]:
        """Yield the answers that the forgotten classes' test images get, the class still recognised most first."""
        if self._confusion is None:
            return
        matrix = self._confusion.after
        for k in sorted(self._forgotten, key=lambda k: (-(matrix.share(k, k) or 0.0), k)):
            if matrix.images[k]:
                ranked = [(j, share) for j, share in matrix.top(k, 4) if j != k][:3]
                now = tuple((shorten(self._labels[j], MOST_NAME), percent(share)) for j, share in ranked)
                yield Destination(
                    shorten(self._labels[k], MOST_NAME), int(matrix.images[k]), now, percent(matrix.share(k, k))
                )

    def _metrics(self, evaluator: str) -> dict[str, Any]:
        evidence = self._found.evidence.get(evaluator)
        return evidence.metrics if evidence else {}

    def _select(self, accuracies: ClassAccuracies, **limits: int) -> ClassSelection:
        return select_classes(accuracies, self._forgotten, **limits)

    def _caption(self, evaluator: str) -> str:
        return f"○ before: {self._report.compared(self._found.source, evaluator)}; ◆ after."

    def _accuracies(self) -> Iterator[Figure]:
        if self._accuracy is None or self._selection is None:
            return
        outside = [k for k in range(len(self._labels)) if k not in self._forgotten]
        order = "retained, most lost first" if self._forgotten else "all, most lost first"
        for split, accuracies in (("test", self._accuracy.test), ("train", self._accuracy.train)):
            if not accuracies.known:
                continue
            # Both splits show the same classes in the same order, so that a reader can compare them.
            groups = [
                DumbbellGroup(
                    title,
                    tuple(DumbbellRow(self._labels[k], accuracies.before[k], accuracies.after[k]) for k in rows),
                    means,
                    zoom,
                )
                for title, rows, means, zoom in (
                    ("forgotten", self._selection.forgotten, accuracies.means(sorted(self._forgotten)), False),
                    (order, self._selection.retained, accuracies.means(outside), True),
                )
                if rows
            ]
            spread = retained_summary(accuracies, outside) if len(self._labels) > SHOW_ALL else ""
            title = f"Correct answers on {split} images, % of each class"
            caption = f"{self._caption('accuracy')} Lines: means, dashed before. {self._selection.note} {spread}"
            if split == "test" and self._forgotten:
                caption = f"{caption} {self._retained(self._accuracy, outside)}"
            picture = dumbbells(f"{self._uid}-{split}", title, groups)
            yield Figure(picture, title, caption, table=self._accuracy_table(split, accuracies))

    def _accuracy_table(self, split: str, accuracies: ClassAccuracies) -> Table:
        rows = tuple(
            (self._labels[k], self._state(k), before, after)
            for k, (before, after) in enumerate(zip(accuracies.before, accuracies.after, strict=True))
        )
        return Table(f"{self._name}-accuracy-{split}", ("class", "state", "before", "after"), rows)

    def _state(self, k: int) -> str:
        if k not in self._forgotten:
            return "retained"
        return "not known before" if k in self._unknown else "forgotten"

    def _retained(self, accuracy: AccuracyMetrics, outside: list[int]) -> str:
        """Return a sentence on the mean of the retained classes; empty where earlier releases measured less."""
        retained = accuracy.retained(outside)
        if retained.lost is None:
            return ""
        compared = self._report.compared(self._found.source, "accuracy")
        told = retained.told(percent, PLAIN_ORIGINAL if compared == REGISTERED else compared)
        return f"Retained, mean: {told}. The masked original is those weights without the answers that are forgotten."

    def _heat(self, matrix: ConfusionMetrics, before: ConfusionMatrix) -> Figure:
        chosen = self._select(ClassAccuracies(before.diagonal(), matrix.after.diagonal()), most_forgotten=MOST_HEAT)
        columns = list(chosen.all)
        for k in chosen.forgotten:
            columns += [j for j, _ in matrix.after.top(k, 3) if j not in columns]
        names = self._labels
        data = Heatmap(
            rows=tuple(names[k] for k in chosen.all),
            columns=tuple(names[k] for k in columns),
            cells=tuple(tuple(matrix.change(i, j) for j in columns) for i in chosen.all),
            forgotten_rows=len(chosen.forgotten),
            forgotten_columns=len(chosen.forgotten),
        )
        title = "Where answers moved on test images, points of each true class"
        caption = (
            f"After minus before ({self._report.compared(self._found.source, 'confusion')}). "
            "Forgotten classes lie above and left of the rules. "
            + (
                f"{chosen.note} Answers that forgotten images are given most often are added as columns."
                if chosen.note
                else ""
            )
        )
        picture = heatmap(f"{self._uid}-confusion", title, data)
        key, table = legend(f"{self._uid}-key"), self._confusion_table(matrix, before)
        return Figure(picture, title, caption, key, wide=len(columns) > 12, table=table)

    def _confusion_table(self, matrix: ConfusionMetrics, before: ConfusionMatrix) -> Table:
        """Return every pair of class and answer with images, before or after."""
        old, new, names = before.counts, matrix.after.counts, self._labels
        rows = tuple(
            (names[i], names[j], int(old[i][j]), int(new[i][j]))
            for i in range(len(names))
            for j in range(len(names))
            if old[i][j] or new[i][j]
        )
        columns = ("true_class", "answer", "images_before", "images_after")
        return Table(f"{self._name}-confusion", columns, rows)

    def membership(self) -> Iterator[Figure]:
        """Yield a chart of the membership attacks, if any was run."""
        metrics = self._metrics("membership")
        rows = [
            DumbbellRow(name, finite_number(metrics.get(f"base_{key}")), finite_number(metrics.get(key)))
            for key, name in (("paper", "the paper's"), ("salun", "SalUn's"))
        ]
        if all(row.before is None and row.after is None for row in rows):
            return
        title = "Membership inference: forgotten images taken for never seen, %"
        caption = (
            f"{self._caption('membership')} These are weak population attacks on one number, the probability of the "
            "right class: a hesitant answer passes them, so a high figure is weak evidence."
        )
        cells = tuple((row.name, row.before, row.after) for row in rows)
        table = Table(f"{self._name}-membership", ("attack", "before", "after"), cells)
        picture = dumbbells(f"{self._uid}-membership", title, [DumbbellGroup("attack", tuple(rows))])
        yield Figure(picture, title, caption, table=table)
