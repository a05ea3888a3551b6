"""Heatmap of the confusion matrix after unlearning minus the one before, in percentage points of each true class."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from .svg import box, group, label, line, picture, shorten_middle, text_width

LEVELS = 6
"""Number of colour steps on each side of zero; the style sheet defines them for light and dark pages."""
WITH_NUMBERS = 20
"""With so many columns or fewer, cells are large enough for numbers."""
LARGE, SMALL = 28.0, 15.0
"""Side of a cell with and without a number, in pixels."""


@dataclass(frozen=True)
class Heatmap:
    """Differences of shares, one row for each true class and one column for each answer.

    A cell is None where a class has no images.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[float | None, ...], ...]
    forgotten_rows: int
    """The number of leading rows that are forgotten classes; a line is drawn below them."""
    forgotten_columns: int


@dataclass(frozen=True)
class _Grid:
    """Position and size of the cells, in pixels."""

    left: float
    top: float
    cell: float
    rows: int
    columns: int

    @property
    def right(self) -> float:
        return self.left + self.cell * self.columns

    @property
    def bottom(self) -> float:
        return self.top + self.cell * self.rows


def heatmap(uid: str, title: str, data: Heatmap) -> Markup:
    """Draw the differences on a diverging colour scale: blue for fewer answers, orange for more."""
    cell = LARGE if len(data.columns) <= WITH_NUMBERS else SMALL
    left = min(104.0, max(79.0, 12 + max((text_width(name, 11) for name in data.rows), default=0.0)))
    flat = all(text_width(name, 11) <= cell - 2 for name in data.columns)
    grid = _Grid(left, 36.0 if flat else 94.0, cell, len(data.rows), len(data.columns))
    parts = [
        label(0, 12, "true class ↓", "tick"),
        label(left, 12, "answer →", "tick"),
        *(_column(name, left + cell * (j + 0.5), grid.top - 6, flat=flat) for j, name in enumerate(data.columns)),
        *_background(grid),
    ]
    for i, (name, cells) in enumerate(zip(data.rows, data.cells, strict=True)):
        y = grid.top + cell * i
        shown = shorten_middle(name, left - 9, 11)
        parts.append(label(left - 7, y + cell / 2 + 4, shown, "cell-name", text_anchor="end"))
        for j, change in enumerate(cells):
            if change is None or level(change):
                hint = f"{name} answered {data.columns[j]}: {_words(change)}"
                parts.append(_cell(left + cell * j, y, cell, change, hint))
    parts += _rules(grid, data)
    return picture(uid, grid.right + 2, grid.bottom + 2, title, _description(data), *parts)


def _background(grid: _Grid) -> Iterator[Markup]:
    """Yield one rectangle behind all unchanged cells, and the gaps between cells."""
    yield box(grid.left, grid.top, grid.right - grid.left, grid.bottom - grid.top, "z0")
    for i in range(1, grid.rows):
        yield line(grid.left, grid.top + grid.cell * i, grid.right, grid.top + grid.cell * i, "gap")
    for j in range(1, grid.columns):
        yield line(grid.left + grid.cell * j, grid.top, grid.left + grid.cell * j, grid.bottom, "gap")


def _rules(grid: _Grid, data: Heatmap) -> Iterator[Markup]:
    """Yield the lines between forgotten and retained classes."""
    if 0 < data.forgotten_rows < grid.rows:
        y = grid.top + grid.cell * data.forgotten_rows
        yield line(0, y, grid.right + 2, y, "rule")
    if 0 < data.forgotten_columns < grid.columns:
        x = grid.left + grid.cell * data.forgotten_columns
        yield line(x, grid.top - 4, x, grid.bottom, "rule")


def level(change: float) -> int:
    """Return the colour step of a difference of shares, from -LEVELS to LEVELS; 0 for less than half a point."""
    if abs(change) < 0.005:
        return 0
    # Most changes are small; the square root gives them more of the scale.
    step = min(LEVELS, max(1, round(LEVELS * math.sqrt(abs(change)))))
    return step if change > 0 else -step


def legend(uid: str) -> Markup:
    """Draw the key to the colours."""
    steps = range(-LEVELS, LEVELS + 1)
    parts = [box(76 + 14 * i, 2, 14, 11, _style(step)) for i, step in enumerate(steps)]
    end = 76 + 14 * len(steps)
    words = [
        label(70, 12, "fewer, −100", "tick", text_anchor="end"),
        label(end + 6, 12, "+100, more", "tick"),
    ]
    return picture(uid, end + 76, 16, "Colour key", "Blue: fewer answers. Orange: more answers.", *parts, *words)


def _column(name: str, x: float, y: float, *, flat: bool) -> Markup:
    if flat:
        return label(x, y, name, "cell-name", text_anchor="middle")
    return label(x + 4, y, shorten_middle(name, 68, 11), "cell-name", transform=f"rotate(-90 {x + 4:g} {y:g})")


def _cell(x: float, y: float, side: float, change: float | None, hint: str) -> Markup:
    if change is None:
        return group(box(x + 0.5, y + 0.5, side - 1, side - 1, "cell-none"), hint=hint)
    style = _style(level(change))
    parts = [box(x + 0.5, y + 0.5, side - 1, side - 1, style)]
    rounded = round(100 * change)
    if side == LARGE and rounded:
        text = f"{'+' if rounded > 0 else '−'}{abs(rounded)}"
        parts.append(label(x + side / 2, y + side / 2 + 3.5, text, f"cell-text t{style}", text_anchor="middle"))
    return group(*parts, hint=hint)


def _style(step: int) -> str:
    """Return the style sheet's name for a colour step."""
    return f"{'n' if step < 0 else 'p' if step > 0 else 'z'}{abs(step)}"


def _words(change: float | None) -> str:
    if change is None:
        return "no images"
    return f"{'+' if change > 0 else '−' if change < 0 else '±'}{abs(100 * change):.1f} points"


def _description(data: Heatmap) -> str:
    """Return the largest changes in words, since a matrix read out cell by cell helps nobody."""
    moves = [
        (change, row, column)
        for row, cells in zip(data.rows, data.cells, strict=True)
        for column, change in zip(data.columns, cells, strict=True)
        if change is not None and abs(change) >= 0.005
    ]
    largest = sorted(moves, key=lambda move: -abs(move[0]))[:8]
    told = "; ".join(f"{row} answered {column} {_words(change)}" for change, row, column in largest)
    return f"Largest changes: {told}." if told else "No share changed by half a point or more."
