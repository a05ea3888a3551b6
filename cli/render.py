"""Output for people: tables on stdout, sentences on stderr, progress bars on a terminal only."""

import os
import time
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Self

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from ledger.domain.image_counts import FEW_IMAGES
from ledger.domain.moments import in_zone

from . import streams
from .suggestions import suggest

if TYPE_CHECKING:
    from ledger.domain.registered_accuracy import Count, RegisteredAccuracy

LEAST_WRAPPED_WIDTH = 16
"""Characters that a wrapped column needs before a table is made wider than the terminal."""
WRAPPED_WIDTH = 24
"""Characters of a wrapped column in a table that is wider than the terminal anyway."""
MOST_WRAPPED = 1000
"""Rows of a table that is made to fit the terminal: nobody reads more of them there."""
GAP = "  "
"""Between two columns."""
NARROW = 80
"""Width of a terminal below which a table that does not fit is taken apart."""
LARGEST_WIDTH = 100_000
"""Characters of any table."""

streams.settle_width()
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


def advise(what: str, text: str, style: str = "") -> None:
    """Print advice that may hold commands, which can be copied and run as they are.

    Args:
        what: How it begins, e.g. ``next:``.
        text: The advice.
        style: Of its beginning.
    """
    say((what, style), f" {suggest(text)}")


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
        _emit_wrapped(columns, names, texts, widths, bounded=bounded)


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
    """Return how many columns of a terminal the longest line of a text takes."""
    if "\n" in text:
        return max(map(_width, text.split("\n")))
    return len(text) if text.isascii() else cell_len(text)


def _padded(text: str, width: int, *, right: bool) -> str:
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank


def _emit_wrapped(
    columns: Sequence[str],
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    *,
    bounded: bool,
) -> None:
    """Print a table whose cells take several lines where they must."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    wraps = [column.startswith("~") for column in columns]
    for column, name, wrapped, width in zip(columns, names, wraps, widths, strict=True):
        least = min(width, LEAST_WRAPPED_WIDTH) if wrapped else None
        justify: Any = "right" if column.startswith("#") else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=not wrapped, min_width=least)
    for row in rows:
        table.add_row(*map(Text, row))
    if not bounded:
        table.width = _measured(table).maximum
    # A column of one letter a line is worse than a table that is too wide.
    elif _least_width(wraps, widths, LEAST_WRAPPED_WIDTH) > out.width:
        if out.width < NARROW:
            _emit_stacked(names, rows)
            return
        table.width = _least_width(wraps, widths, WRAPPED_WIDTH)
    out.print(table, crop=False)


def _emit_stacked(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print each row as a paragraph with a line for each cell that is not empty: no table fits here."""
    for row in rows:
        for name, text in zip(names, row, strict=True):
            if text:
                heading = Text(f"{name}: " if name else "", style="dim")
                out.print(heading + Text(text), soft_wrap=False, overflow="fold")
        out.print()


def percent(share: float | None) -> str:
    """Return a share as per cent, or a dash."""
    return "-" if share is None else f"{100 * share:.1f}%"


def points(difference: float) -> str:
    """Return a difference of shares in points; none is negative nothing."""
    rounded = round(100 * difference, 1)
    return f"{rounded + 0.0:.1f}"


def marked_images(count: int) -> str:
    """Return a number of images, marked if they are few."""
    return f"{count:,}*" if count < FEW_IMAGES else f"{count:,}"


def accuracy_text(accuracy: "RegisteredAccuracy") -> str:
    """Return how well the registered weights answered, as one line."""
    return counts_text(accuracy.of_test, accuracy.of_train)


def counts_text(test: "Count", train: "Count") -> str:
    """Return how well a network answered for test and training images, as one line."""
    named = (("test", test), ("training", train))
    parts = [f"{percent(count.share)} of {count.images:,} {name} images" for name, count in named if count.images]
    return ", ".join(parts) or "not measured"


_zone: ContextVar[tzinfo] = ContextVar("zone", default=UTC)
"""The ledger's time zone, in which people read times."""


def show_times_in(zone: tzinfo) -> None:
    """Show times in a time zone from now on."""
    _zone.set(zone)


def moment(value: datetime | str) -> datetime:
    """Return a moment of a document: a server's documents hold them as text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def minute(value: datetime | str) -> str:
    """Return a moment's date, minute and time zone."""
    return f"{in_zone(moment(value), _zone.get()):%Y-%m-%d %H:%M %Z}"


def day(value: datetime | str) -> str:
    """Return a moment's date."""
    return f"{in_zone(moment(value), _zone.get()):%Y-%m-%d}"


def size(count: int) -> str:
    """Return a number of bytes in decimal units."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _least_width(wraps: Sequence[bool], widths: Sequence[int], room: int) -> int:
    """Return the least width of a table whose wrapped columns get ``room`` characters, or what their cells need."""
    cells = (min(room, width) if wrapped else width for wrapped, width in zip(wraps, widths, strict=True))
    return sum(cells) + len(GAP) * (len(widths) - 1)


def _measured(table: Table) -> Measurement:
    return Measurement.get(out, out.options.update(max_width=LARGEST_WIDTH), table)


def _cell(value: Any) -> str:
    return minute(value) if isinstance(value, datetime) else "" if value is None else _visible(str(value))


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
