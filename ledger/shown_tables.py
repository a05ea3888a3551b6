"""Values that a notebook shows as a table, and that pandas can take over.

Class names, reasons and file names are data: whatever they hold is shown as text.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ledger import installation

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 200
"""Rows that a notebook shows; what lies behind is counted."""


@dataclass(frozen=True)
class ShownTable:
    """Rows under named columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    def to_html(self) -> str:
        """Return the table as HTML; every text in it is escaped."""
        head = "".join(f"<th>{escape(column)}</th>" for column in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_told(cell))}</td>" for cell in row) + "</tr>"
            for row in self.rows[:MOST_ROWS]
        )
        more = len(self.rows) - MOST_ROWS
        rest = f"<p>and {more:,} more</p>" if more > 0 else ""
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"

    def to_pandas(self) -> "pd.DataFrame":
        """Return the rows as a data frame.

        Raises:
            NotInstalledError: pandas is not installed.
        """
        installation.require("notebook", "a data frame")
        pandas = import_module("pandas")
        frame: pd.DataFrame = pandas.DataFrame([tuple(row) for row in self.rows], columns=list(self.columns))
        return frame


class ShownAsTable:
    """A value that is shown as a table. Whoever derives from it says which."""

    __slots__ = ()

    @abstractmethod
    def table(self) -> ShownTable:
        """Return the table."""

    def to_pandas(self) -> "pd.DataFrame":
        """Return the table as a data frame.

        Raises:
            NotInstalledError: pandas is not installed.
        """
        return self.table().to_pandas()

    def _repr_html_(self) -> str:
        """Return the table as a notebook shows it."""
        return self.table().to_html()


def _told(cell: Any) -> str:
    """Return a cell as text; shares are shown to a thousandth, and what is not known stays empty."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}"
    if isinstance(cell, list | tuple | set | frozenset):
        return ", ".join(map(str, cell))
    return str(cell)
