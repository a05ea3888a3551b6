"""The numbers behind a picture as a table, and tables as CSV that a spreadsheet opens without running anything."""

import csv
import io
from dataclasses import dataclass

Cell = str | int | float | bool | None

_STARTS_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")
"""Signs at which spreadsheets begin to compute, those of double width included; OWASP, CSV injection."""


@dataclass(frozen=True)
class Table:
    """Rows of numbers and names under a name that is unique on the page."""

    name: str
    """Lower-case words joined by hyphens; the file is called so, with ``.csv``."""
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def to_csv(table: Table) -> bytes:
    """Return a table as CSV in UTF-8 (RFC 4180): texts in quotation marks, numbers without, unknown cells empty.

    Labels come from strangers. One that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(table.columns)
    writer.writerows([[_cell(cell) for cell in row] for row in table.rows])
    return file.getvalue().encode()


def _cell(cell: Cell) -> str | int | float:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return _harmless(cell) if isinstance(cell, str) else cell


def _harmless(text: str) -> str:
    # Lone surrogates, which labels may hold, have no bytes in UTF-8.
    shown = text.encode(errors="replace").decode()
    begins = shown.lstrip(" ")[:1]
    return f"'{shown}" if begins in _STARTS_FORMULA and begins else shown
