"""A picture with what stands around it."""

from dataclasses import dataclass

from markupsafe import Markup

from ledger.report.data.tables import Table


@dataclass(frozen=True)
class Figure:
    """A chart with its title and caption."""

    picture: Markup
    title: str
    caption: str = ""
    key: Markup | None = None
    """Key to the colours."""
    wide: bool = False
    table: Table | None = None
    """The numbers behind it: all of them, also where the picture shows a selection."""
