"""Accuracies of one version as charts and rows of numbers."""

from collections.abc import Iterator
from dataclasses import dataclass

from ledger.domain.retained_accuracy import PLAIN_ORIGINAL
from ledger.report.charts.dumbbells import DumbbellGroup, DumbbellRow, dumbbells
from ledger.report.charts.measured_words import span
from ledger.report.charts.words import bare_percent, percent, points
from ledger.report.data.measured import FEW_IMAGES, SplitAccuracy
from ledger.report.data.metrics import ClassAccuracies
from ledger.report.data.model_report import REGISTERED
from ledger.report.data.tables import Cell, Table

from .class_selection import SHOW_ALL, ClassSelection, retained_summary, select_classes
from .figure import Figure
from .shown_version import ShownVersion
from .side_by_side import split_of

MOST_ROWS = 200
"""Classes in the table of numbers; with more classes, the table holds only those that the charts show."""


@dataclass(frozen=True)
class ClassRow:
    """One class in the table of numbers."""

    name: str
    state: str
    few: bool
    """Whether it has so few test images that its figures say little."""
    numbers: tuple[str, ...]
    """Test images, accuracies before and after in percent, the interval, the change in points; training images:
    accuracies before and after, change."""


def accuracy_figures(shown: ShownVersion) -> Iterator[Figure]:
    """Yield charts of the accuracies on test and on training images."""
    accuracy = shown.accuracy
    if accuracy is None:
        return
    selection = _selection(shown)
    order = "retained, most lost first" if shown.forgotten else "all, most lost first"
    for split, accuracies in (("test", accuracy.test), ("train", accuracy.train)):
        if not accuracies.known:
            continue
        beside = {network: split_of(shown, network, split) for network in ("version", "masked_original", "retrained")}
        # Both splits show the same classes in the same order, so that a reader can compare them.
        groups = [
            DumbbellGroup(title, tuple(_row(shown, accuracies, beside, k) for k in classes), means, zoom)
            for title, classes, means, zoom in (
                ("forgotten", selection.forgotten, accuracies.means(sorted(shown.forgotten)), False),
                (order, selection.retained, accuracies.means(shown.retained), True),
            )
            if classes
        ]
        title = f"Correct answers on {split} images, % of each class"
        yield Figure(
            dumbbells(f"{shown.uid}-{split}", title, groups),
            title,
            _caption(shown, split, accuracies, beside, selection),
            table=_table(shown, split, accuracies, beside),
        )


def class_rows(shown: ShownVersion) -> Iterator[ClassRow]:
    """Yield the rows of the table of accuracies: every class, or the selection where there are very many."""
    accuracy = shown.accuracy
    if accuracy is None:
        return
    version = split_of(shown, "version", "test")
    everything = len(shown.labels) <= MOST_ROWS
    for k in (*sorted(shown.forgotten), *shown.retained) if everything else _selection(shown).all:
        measured = version.of_class(k) if version else None
        images = "–" if measured is None or measured.images is None else f"{measured.images:,}"
        interval = span(measured.interval) if measured and measured.interval else "–"
        test, train = accuracy.test, accuracy.train
        cells = (
            *(images, bare_percent(test.before[k]), bare_percent(test.after[k]), interval, points(test.change(k))),
            *(bare_percent(train.before[k]), bare_percent(train.after[k]), points(train.change(k))),
        )
        yield ClassRow(shown.labels[k], shown.state(k), bool(version and version.few(k)), cells)


def _selection(shown: ShownVersion) -> ClassSelection:
    accuracy = shown.accuracy
    nothing = (None,) * len(shown.labels)
    return select_classes(accuracy.test if accuracy else ClassAccuracies(nothing, nothing), shown.forgotten)


def _row(
    shown: ShownVersion, accuracies: ClassAccuracies, beside: dict[str, SplitAccuracy | None], k: int
) -> DumbbellRow:
    version, masked, retrained = (beside[name] for name in ("version", "masked_original", "retrained"))
    return DumbbellRow(
        shown.labels[k],
        accuracies.before[k],
        accuracies.after[k],
        masked=masked.shares[k] if masked and shown.forgotten else None,
        retrained=retrained.shares[k] if retrained else None,
        few=version.images[k] if version and version.few(k) else None,
    )


def _caption(
    shown: ShownVersion,
    split: str,
    accuracies: ClassAccuracies,
    beside: dict[str, SplitAccuracy | None],
    selection: ClassSelection,
) -> str:
    told = [f"○ before: {shown.compared('accuracy')}; ◆ after"]
    if beside["masked_original"] and shown.forgotten:
        told[0] += "; | masked original"
    if beside["retrained"]:
        told[0] += "; ■ retrained without the classes"
    told[0] += ". Lines: means, dashed before."
    version = beside["version"]
    if version and any(version.few(k) for k in selection.all):
        told.append(f"⚠ fewer than {FEW_IMAGES} images, and how many: such a figure says little.")
    told += [selection.note] if selection.note else []
    if len(shown.labels) > SHOW_ALL:
        told.append(retained_summary(accuracies, shown.retained))
    if split == "test" and shown.forgotten:
        told.append(_retained(shown))
    return " ".join(part for part in told if part)


def _retained(shown: ShownVersion) -> str:
    """Return a sentence on the mean of the retained classes; empty where earlier releases measured less."""
    if shown.accuracy is None or (retained := shown.accuracy.retained(shown.retained)).lost is None:
        return ""
    compared = shown.compared("accuracy")
    told = retained.told(percent, PLAIN_ORIGINAL if compared == REGISTERED else compared)
    return f"Retained, mean: {told}. The masked original is those weights without the answers that are forgotten."


def _table(
    shown: ShownVersion, split: str, accuracies: ClassAccuracies, beside: dict[str, SplitAccuracy | None]
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for k, (before, after) in enumerate(zip(accuracies.before, accuracies.after, strict=True)):
        version, masked, retrained = (beside[name] for name in ("version", "masked_original", "retrained"))
        measured = version.of_class(k) if version else None
        ends = (measured.interval.low, measured.interval.high) if measured and measured.interval else (None, None)
        rows.append(
            (
                *(shown.labels[k], shown.state(k), before, after, *ends, measured.images if measured else None),
                masked.shares[k] if masked else None,
                retrained.shares[k] if retrained else None,
            )
        )
    columns = ("class", "state", "before", "after", "low", "high", "images", "masked_original", "retrained")
    return Table(shown.table_name(f"accuracy-{split}"), columns, tuple(rows))
