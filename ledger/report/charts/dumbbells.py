"""Dumbbell charts of accuracies before (hollow circle) and after (filled diamond), one row for each class.

All values are shares between 0 and 1; the chart prints them in percent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .svg import box, circle, diamond, group, label, line, picture, shorten_middle, text_width
from .words import bare_percent, count, percent, points

WIDTH = 360.0
RIGHT = 266.0
"""Right end of the scale; the numbers are right of it, the names left of the scale."""
ROW = 19.0


@dataclass(frozen=True)
class DumbbellRow:
    """One class or one attack, with its shares before and after; None where nothing was measured."""

    name: str
    before: float | None
    after: float | None
    masked: float | None = None
    """Share of the masked original; drawn as an upright line."""
    retrained: float | None = None
    """Share of a retrained network; drawn as a square."""
    few: int | None = None
    """Number of images, where these are so few that the row is marked."""


@dataclass(frozen=True)
class DumbbellGroup:
    """Rows that share a scale."""

    title: str
    rows: tuple[DumbbellRow, ...]
    means: tuple[float | None, float | None] | None = None
    """Means before and after over all classes of the group, shown or not; drawn as vertical lines."""
    zoom: bool = False
    """Whether the scale begins just below the smallest share instead of at zero."""


@dataclass(frozen=True)
class _Scale:
    """Convert shares to x coordinates in pixels."""

    left: float
    start: float

    def __call__(self, share: float) -> float:
        return self.left + (RIGHT - self.left) * (min(max(share, self.start), 1.0) - self.start) / (1 - self.start)


def dumbbells(uid: str, title: str, groups: Sequence[DumbbellGroup]) -> Markup:
    """Draw groups of rows, one below the other.

    Args:
        uid: Unique on the page.
        title: What the shares are of.
        groups: Each has its own scale; names are aligned across groups.
    """
    widest = max((text_width(row.name) for group in groups for row in group.rows), default=0.0)
    left = min(124.0, max(80.0, widest + 14))
    parts: list[Markup] = []
    y = 0.0
    for item in groups:
        parts += _group(item, y, left)
        y += 46 + ROW * len(item.rows)
    return picture(uid, WIDTH, max(y, 20.0), title, _description(groups), *parts)


def scale_start(rows: Sequence[DumbbellRow]) -> float:
    """Return the start of a zoomed scale: a multiple of 0.05 below all shares, at most 0.9."""
    shares = (v for row in rows for v in (row.before, row.after, row.masked, row.retrained) if v is not None)
    least = min(shares, default=0.0)
    return max(0.0, min(0.9, math.floor((least - 0.01) * 20) / 20))


def _group(item: DumbbellGroup, top: float, left: float) -> list[Markup]:
    x = _Scale(left, scale_start(item.rows) if item.zoom else 0.0)
    first = top + 42
    end = first + ROW * len(item.rows) - 6
    parts = [label(0, top + 14, item.title, "group-title")]
    if item.means is not None:
        parts.append(label(WIDTH, top + 14, f"mean {_pair(*item.means)}", "small number", text_anchor="end"))
    for share in (x.start, (x.start + 1) / 2, 1.0):
        parts.append(line(x(share), first - 10, x(share), end, "grid"))
        # A scale that does not begin at zero says so.
        text = f"{'from ' if 0 < share == x.start else ''}{100 * share:g}"
        parts.append(label(x(share), first - 14, text, "tick", text_anchor="middle"))
    for mean, style in zip(item.means or (), ("mean-before", "mean-after"), strict=False):
        if mean is not None:
            parts.append(line(x(mean), first - 10, x(mean), end, style))
    parts += [_row(row, first + ROW * i + 2, x) for i, row in enumerate(item.rows)]
    return parts


def _row(row: DumbbellRow, y: float, x: _Scale) -> Markup:
    few = f" ⚠{row.few}" if row.few is not None else ""
    name = shorten_middle(row.name, x.left - 14 - text_width(few)) + few
    parts = [box(0, y - ROW / 2, WIDTH, ROW, "row-hit"), label(0, y + 4, name)]
    hint = f"{row.name}: {percent(row.before)} before, {percent(row.after)} after"
    if row.few is not None:
        hint += f", on {count(row.few, 'image')} only"
    if row.before is not None and row.after is not None:
        parts.append(line(x(row.before), y, x(row.after), y, "bar-between"))
        hint += f", {points(row.after - row.before)} points"
    if row.masked is not None:
        parts.append(line(x(row.masked), y - 7, x(row.masked), y + 7, "mark-masked"))
        hint += f", {percent(row.masked)} masked original"
    if row.retrained is not None:
        parts.append(box(x(row.retrained) - 3.6, y - 3.6, 7.2, 7.2, "mark-retrained"))
        hint += f", {percent(row.retrained)} retrained"
    if row.before is not None:
        parts.append(circle(x(row.before), y, 5, "mark-before"))
    if row.after is not None:
        parts.append(diamond(x(row.after), y, 4.6, "mark-after"))
    parts.append(label(WIDTH, y + 4, _pair(row.before, row.after), "small number", text_anchor="end"))
    return group(*parts, hint=hint)


def _pair(before: float | None, after: float | None) -> str:
    return f"{bare_percent(before)} → {bare_percent(after)}"


def _description(groups: Sequence[DumbbellGroup]) -> str:
    return " ".join(
        f"{item.title}: " + "; ".join(f"{row.name} {_pair(row.before, row.after)}" for row in item.rows) + "."
        for item in groups
    )
