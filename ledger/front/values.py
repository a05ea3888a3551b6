"""How documents become values: moments, tuples of text, and lists that are shown as tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Generic, TypeVar, overload

from ledger.shown_tables import ShownAsTable, ShownTable

Shown = TypeVar("Shown", bound="Row")


class Row(ShownAsTable):
    """A frozen dataclass that is shown as one row: the fields of its representation."""

    __slots__ = ()

    def cells(self) -> dict[str, Any]:
        """Return what is shown, by column."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.repr}  # type: ignore[arg-type]

    def table(self) -> ShownTable:
        """Return the fields below each other."""
        return ShownTable(("", type(self).__name__), list(self.cells().items()))


@dataclass(frozen=True)
class Listing(ShownAsTable, Sequence[Shown], Generic[Shown]):
    """Values of one kind, in order."""

    items: tuple[Shown, ...]

    def table(self) -> ShownTable:
        """Return a row for each."""
        columns = list(self.items[0].cells()) if self.items else []
        return ShownTable(columns, [list(one.cells().values()) for one in self.items])

    @overload
    def __getitem__(self, index: int) -> Shown: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Shown]: ...

    def __getitem__(self, index: int | slice) -> Shown | Sequence[Shown]:
        """Return one of them, or some."""
        return self.items[index]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.items)

    def __iter__(self) -> Iterator[Shown]:
        """Yield them in order."""
        return iter(self.items)


def moment(value: str | datetime | None) -> datetime | None:
    """Return a moment of a document: a server writes it as text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value
