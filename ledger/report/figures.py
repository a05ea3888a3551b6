"""The evidence on one version as drawings, sentences and rows of numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ledger.domain.versions import Version
from ledger.report.charts.dumbbells import Group, Row, dumbbells
from ledger.report.charts.heatmap import Heatmap, heatmap, legend
from ledger.report.charts.svg import shorten
from ledger.report.charts.words import bare_percent, percent, points

from . import measured
from .measured import Answers, Confusion, Matrix
from .selection import ALL, Selection, retained_summary, select
from .view import Measurement, Report

MOST_ROWS = 200
"""Classes in the table of numbers; beyond, only those that the charts show."""
MOST_HEAT = 15
MOST_NAME = 260
"""Pixels that a name in a sentence may take."""


@dataclass(frozen=True)
class Figure:
    """A drawing with what should be said below it."""

    picture: Markup
    title: str
    caption: str = ""
    key: Markup | None = None
    wide: bool = False


@dataclass(frozen=True)
class Destination:
    """What a forgotten class's test images are taken for now."""

    name: str
    images: int
    now: tuple[tuple[str, str], ...]
    still: str


@dataclass(frozen=True)
class ClassRow:
    """A class in the table of numbers."""

    name: str
    forgotten: bool
    numbers: tuple[str, ...]


class EvidenceFigures:
    """Draws the evidence on one version."""

    def __init__(self, report: Report, version: Version, found: Measurement) -> None:
        self._report = report
        self._found = found
        self._labels = report.model.labels
        self._forgotten = version.forgotten
        self._uid = f"v{version.number}"
        classes = len(self._labels)
        self._accuracy = measured.accuracy(self._metrics("accuracy"), classes)
        self._confusion = measured.confusion(self._metrics("confusion"), classes)
        self._selection = self._select(self._accuracy.test) if self._accuracy else None

    def evidence(self) -> Iterator[Figure]:
        """Yield accuracy on test and training images, and where answers moved."""
        yield from self._accuracies()
        if self._confusion is not None and self._confusion.before is not None:
            yield self._heat(self._confusion, self._confusion.before)

    def rows(self) -> Iterator[ClassRow]:
        """Yield the numbers behind the accuracy charts."""
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
            yield ClassRow(self._labels[k], k in self._forgotten, tuple(cells))

    def destinations(self) -> Iterator[Destination]:
        """Yield where the test images of the forgotten classes went."""
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

    def _select(self, answers: Answers, **limits: int) -> Selection:
        return select(answers, self._forgotten, **limits)

    def _caption(self, evaluator: str) -> str:
        return f"○ before: {self._report.compared(self._found.source, evaluator)}; ◆ after."

    def _accuracies(self) -> Iterator[Figure]:
        if self._accuracy is None or self._selection is None:
            return
        outside = [k for k in range(len(self._labels)) if k not in self._forgotten]
        order = "retained, most lost first" if self._forgotten else "all, most lost first"
        for split, answers in (("test", self._accuracy.test), ("train", self._accuracy.train)):
            if not answers.known:
                continue
            # Both splits show the same rows in the same order, so that they can be read across.
            groups = [
                Group(
                    title, tuple(Row(self._labels[k], answers.before[k], answers.after[k]) for k in rows), means, zoom
                )
                for title, rows, means, zoom in (
                    ("forgotten", self._selection.forgotten, answers.means(sorted(self._forgotten)), False),
                    (order, self._selection.retained, answers.means(outside), True),
                )
                if rows
            ]
            spread = retained_summary(answers, outside) if len(self._labels) > ALL else ""
            title = f"Correct answers on {split} images, % of each class"
            caption = f"{self._caption('accuracy')} Lines: means, dashed before. {self._selection.note} {spread}"
            yield Figure(dumbbells(f"{self._uid}-{split}", title, groups), title, caption)

    def _heat(self, matrix: Confusion, before: Matrix) -> Figure:
        chosen = self._select(Answers(before.diagonal(), matrix.after.diagonal()), most_forgotten=MOST_HEAT)
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
        return Figure(picture, title, caption, legend(f"{self._uid}-key"), wide=len(columns) > 12)

    def membership(self) -> Iterator[Figure]:
        """Yield the membership attacks, where both or one of them were run."""
        metrics = self._metrics("membership")
        rows = [
            Row(name, measured.share(metrics.get(f"base_{key}")), measured.share(metrics.get(key)))
            for key, name in (("paper", "the paper's"), ("salun", "SalUn's"))
        ]
        if all(row.before is None and row.after is None for row in rows):
            return
        title = "Membership inference: forgotten images taken for never seen, %"
        caption = (
            f"{self._caption('membership')} These are weak population attacks on one number, the probability of the "
            "right class: a hesitant answer passes them, so a high figure is weak evidence."
        )
        yield Figure(dumbbells(f"{self._uid}-membership", title, [Group("attack", tuple(rows))]), title, caption)
