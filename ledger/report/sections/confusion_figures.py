"""What changed in the answers of one version: a heat map, and the answers that forgotten images get."""

from collections.abc import Iterator
from dataclasses import dataclass

from ledger.report.charts.heatmap import Heatmap, heatmap, legend
from ledger.report.charts.svg import shorten
from ledger.report.charts.words import percent
from ledger.report.data.metrics import ClassAccuracies, ConfusionMatrix, ConfusionMetrics
from ledger.report.data.tables import Cell, Table

from .class_selection import select_classes
from .figure import Figure
from .shown_version import ShownVersion

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


def confusion_figures(shown: ShownVersion) -> Iterator[Figure]:
    """Yield a heat map of the answers after minus those before, if both were measured."""
    confusion = shown.confusion
    if confusion is not None and confusion.before is not None:
        yield _heat(shown, confusion, confusion.before)


def destinations(shown: ShownVersion) -> Iterator[Destination]:
    """Yield the answers that the forgotten classes' test images get, the class still recognised most first."""
    if shown.confusion is None:
        return
    matrix, labels = shown.confusion.after, shown.labels
    for k in sorted(shown.forgotten, key=lambda k: (-(matrix.share(k, k) or 0.0), k)):
        if matrix.images[k]:
            ranked = [(j, share) for j, share in matrix.top(k, 4) if j != k][:3]
            now = tuple((shorten(labels[j], MOST_NAME), percent(share)) for j, share in ranked)
            still = percent(matrix.share(k, k))
            yield Destination(shorten(labels[k], MOST_NAME), int(matrix.images[k]), now, still)


def _heat(shown: ShownVersion, matrix: ConfusionMetrics, before: ConfusionMatrix) -> Figure:
    changes = ClassAccuracies(before.diagonal(), matrix.after.diagonal())
    chosen = select_classes(changes, shown.forgotten, most_forgotten=MOST_HEAT)
    columns = list(chosen.all)
    for k in chosen.forgotten:
        columns += [j for j, _ in matrix.after.top(k, 3) if j not in columns]
    names = shown.labels
    data = Heatmap(
        rows=tuple(names[k] for k in chosen.all),
        columns=tuple(names[k] for k in columns),
        cells=tuple(tuple(matrix.change(i, j) for j in columns) for i in chosen.all),
        forgotten_rows=len(chosen.forgotten),
        forgotten_columns=len(chosen.forgotten),
    )
    title = "Where answers moved on test images, points of each true class"
    caption = f"After minus before ({shown.compared('confusion')}). Forgotten classes lie above and left of the rules. "
    if chosen.note:
        caption += f"{chosen.note} Answers that forgotten images are given most often are added as columns."
    return Figure(
        heatmap(f"{shown.uid}-confusion", title, data),
        title,
        caption,
        legend(f"{shown.uid}-key"),
        wide=len(columns) > 12,
        table=_table(shown, matrix, before),
    )


def _table(shown: ShownVersion, matrix: ConfusionMetrics, before: ConfusionMatrix) -> Table:
    """Return every pair of class and answer with images, before or after."""
    old, new, names = before.counts, matrix.after.counts, shown.labels
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (names[i], names[j], int(old[i][j]), int(new[i][j]))
        for i in range(len(names))
        for j in range(len(names))
        if old[i][j] or new[i][j]
    )
    return Table(shown.table_name("confusion"), ("true_class", "answer", "images_before", "images_after"), rows)
