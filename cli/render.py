"""Output for people: tables on stdout, sentences on stderr, progress bars on a terminal only."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

LEAST_WRAPPED_WIDTH = 16
"""Characters that a wrapped column needs before a table is made wider than the terminal."""
WRAPPED_WIDTH = 24
"""Characters of a wrapped column in a table that is wider than the terminal anyway."""
MOST_WRAPPED = 1000
"""Rows of a table that is made to fit the terminal: nobody reads more of them there."""
GAP = "  "
"""Between two columns."""
LARGEST_WIDTH = 100_000
"""Characters of any table."""

out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(*parts: str | tuple[str, str]) -> None:
    """Print a sentence for people to standard error; data goes to standard output.

    Args:
        parts: Literal text, or text with its style. It may hold anything, as labels and paths do: markup is
            not interpreted, and control characters are spelled out.
    """
    pairs = ((part, "") if isinstance(part, str) else part for part in parts)
    err.print(Text.assemble(*((_visible(text), style) for text, style in pairs)))


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Print a table that fits the terminal if possible; without a terminal, each row is one line.

    Args:
        columns: Headings. ``#`` before one aligns numbers to the right; ``~`` lets the column wrap.
        rows: Values, one for each column.
        title: Printed above.
    """
    if title is not None:
        out.print(Text(_visible(title)), style="bold")
    texts = [[_cell(value) for value in row] for row in rows]
    names = [column.removeprefix("#").removeprefix("~") for column in columns]
    widths = [max(map(_width, column)) for column in zip(names, *texts, strict=True)]
    bounded = out.is_terminal or "COLUMNS" in os.environ
    if _fit(texts, widths, bounded=bounded):
        _emit_lines(names, texts, widths, right=[column.startswith("#") for column in columns])
    else:
        _emit_wrapped(columns, names, texts, bounded=bounded)


def _fit(rows: Sequence[Sequence[str]], widths: Sequence[int], *, bounded: bool) -> bool:
    """Whether each row goes on one line: that fits, nobody asked for a width, or there are too many to wrap them."""
    if any("\n" in text or "\t" in text for row in rows for text in row):
        return False
    return not bounded or len(rows) > MOST_WRAPPED or sum(widths) + len(GAP) * (len(widths) - 1) <= out.width


def _emit_lines(
    names: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], right: Sequence[bool]
) -> None:
    """Print a table with each row on one line, in a hundredth of the time that rich takes."""
    shape = GAP.join(f"{{:{'>' if number else '<'}{width}}}" for width, number in zip(widths, right, strict=True))

    def line(row: Sequence[str]) -> str:
        if all(map(str.isascii, row)):
            return shape.format(*row)
        cells = (_padded(text, width, right=number) for text, width, number in zip(row, widths, right, strict=True))
        return GAP.join(cells)

    out.print(Text(line(names)), style="dim", soft_wrap=True)
    out.file.write("".join(line(row) + "\n" for row in rows))


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def _padded(text: str, width: int, *, right: bool) -> str:
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank


def _emit_wrapped(
    columns: Sequence[str],
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    bounded: bool,
) -> None:
    """Print a table whose cells take several lines where they must."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    longest: dict[int, int] = {}
    for i, (column, name) in enumerate(zip(columns, names, strict=True)):
        number, wraps = column.startswith("#"), column.startswith("~")
        table.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=not wraps)
        if wraps:
            longest[i] = max((_width(row[i]) for row in rows), default=0)
    for row in rows:
        table.add_row(*map(Text, row))
    if not bounded:
        table.width = _measured(table).maximum
    # A column of one letter a line is worse than a table that is too wide.
    elif _least_width(table, longest, LEAST_WRAPPED_WIDTH) > out.width:
        table.width = _least_width(table, longest, WRAPPED_WIDTH)
    out.print(table, crop=False)


def percent(share: float | None) -> str:
    """Return a share as per cent, or a dash."""
    return "-" if share is None else f"{100 * share:.1f}%"


def day(moment: datetime) -> str:
    """Return a moment's date and minute, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M}"


def size(count: int) -> str:
    """Return a number of bytes in decimal units."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _least_width(table: Table, longest: Mapping[int, int], room: int) -> int:
    """Return the least width of a table whose wrapped columns get ``room`` characters, or what their cells need."""
    for i, length in longest.items():
        table.columns[i].min_width = min(room, length)
    return _measured(table).minimum


def _measured(table: Table) -> Measurement:
    return Measurement.get(out, out.options.update(max_width=LARGEST_WIDTH), table)


def _cell(value: Any) -> str:
    return day(value) if isinstance(value, datetime) else "" if value is None else _visible(str(value))


def _visible(text: str) -> str:
    """Spell out control characters, so that the terminal does not execute them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


SPEED_OVER = 600.0
"""Seconds over which speed is averaged; rich averages over 30 by default, and one step may take as long."""


class PhaseProgress:
    """Shows the phases of long work: a progress bar for each on a terminal, one line for each elsewhere."""

    def __init__(self) -> None:
        self._bars = RichProgress(
            TextColumn("{task.description:16}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
            speed_estimate_period=SPEED_OVER,
        )
        self._task: Any = None
        self._name = ""
        self._steps = 0
        self._began = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        self._bars.stop()

    def phase(self, name: str, total: int | None = None) -> None:
        """Begin a phase."""
        self._finish()
        self._name, self._steps, self._began = name, 0, time.perf_counter()
        self._task = self._bars.add_task(name, total=total)

    def step(self) -> None:
        """Count one step."""
        self._steps += 1
        self._bars.advance(self._task)

    def end(self) -> None:
        """End the current phase, so that what is printed next does not look like a part of it."""
        self._finish()

    def _finish(self) -> None:
        if not self._name:
            return
        if not err.is_terminal:
            err.print(f"  {self._name}: {self._steps} steps in {time.perf_counter() - self._began:.1f} s")
        else:
            self._bars.update(self._task, total=self._steps, completed=self._steps)
            self._bars.stop_task(self._task)
        self._name = ""
