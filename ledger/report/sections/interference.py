"""Interference over the whole history: what each version cost the retained classes, and whether forgetting lasted."""

from dataclasses import dataclass

from ledger.domain.versions import Version
from ledger.report.charts.line_chart import Series, line_chart
from ledger.report.charts.svg import named
from ledger.report.data.model_report import ModelReport
from ledger.report.data.tables import Cell, Table

from .figure import Figure
from .shown_version import ShownVersion
from .side_by_side import split_of

_CAPTION = (
    "The masked original changes because the classes it may not answer do. What lies between the lines is what "
    "unlearning cost."
)
MOST_LINES = 8
"""Classes with a line of their own."""


@dataclass(frozen=True)
class _Point:
    """What one version shows."""

    version: Version
    retained: float | None
    """Mean accuracy on the classes that it retains, as a share."""
    masked: float | None
    """The same of the masked original."""
    forgotten: dict[int, float | None]
    """Accuracy on each class that was ever forgotten up to this version."""


def interference(report: ModelReport) -> tuple[Figure, ...]:
    """Return two charts over all versions: retained against masked, and every class that was ever forgotten."""
    points = _points(report)
    if sum(point.retained is not None for point in points) < 2:
        return ()
    places = [f"v{point.version.number}" for point in points]
    labels = report.model.labels
    rows: list[tuple[Cell, ...]] = []
    for point in points:
        rows.append((point.version.number, "retained", point.retained, point.masked))
        rows += [(point.version.number, labels[k], value, None) for k, value in point.forgotten.items()]
    table = Table("interference", ("version", "class", "accuracy", "masked_original"), tuple(rows))
    kept = [
        Series("this version", "version", tuple(point.retained for point in points)),
        Series("masked original", "masked_original", tuple(point.masked for point in points)),
    ]
    kept = [one for one in kept if any(value is not None for value in one.values)]
    first = "Retained classes over the whole history, mean accuracy on test images, %"
    second = "Every class ever forgotten, accuracy on test images, %"
    ever = _ever(points)
    lines = [Series(named(labels[k]), "other", tuple(p.forgotten.get(k) for p in points)) for k in ever[:MOST_LINES]]
    note = f" Shown: {MOST_LINES} of {len(ever)} classes, those recognised most." if len(ever) > MOST_LINES else ""
    return (
        Figure(
            line_chart("interference-retained", first, places, kept, wide=True),
            first,
            _CAPTION if len(kept) > 1 else "",
            table=table,
        ),
        Figure(
            line_chart("interference-forgotten", second, places, lines, wide=True),
            second,
            f"A line begins where its class is first forgotten; it rises where a class is known again.{note}",
        ),
    )


def _points(report: ModelReport) -> list[_Point]:
    points = []
    ever: set[int] = set()
    for version in report.history.versions:
        ever |= version.forgotten
        shown = ShownVersion(report, version)
        accuracy, masked = split_of(shown, "version", "test"), split_of(shown, "masked_original", "test")
        points.append(
            _Point(
                version,
                accuracy.mean(shown.retained).share if accuracy else None,
                masked.mean(shown.retained).share if masked else None,
                {k: accuracy.shares[k] if accuracy else None for k in sorted(ever)},
            )
        )
    return points


def _ever(points: list[_Point]) -> list[int]:
    """Return the classes ever forgotten, first those recognised most in the newest version that was measured."""
    newest = next((p.forgotten for p in reversed(points) if any(v is not None for v in p.forgotten.values())), {})
    return sorted(newest, key=lambda k: (-(newest[k] or 0.0), k))
