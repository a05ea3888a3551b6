"""How long work tells its observer where it is, without knowing who that is."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Follows the phases of a long operation."""

    def phase(self, name: str, total: int | None = None) -> None:
        """Begin a phase of ``total`` steps (None if unknown), ending the one before."""
        ...

    def step(self) -> None:
        """Count one step of the current phase."""
        ...


class Silent:
    """An observer that does nothing."""

    def phase(self, name: str, total: int | None = None) -> None:
        """Ignore it."""

    def step(self) -> None:
        """Ignore it."""


def counted(progress: Progress, items: Iterable[T]) -> Iterator[T]:
    """Yield items, counting a step after each."""
    for item in items:
        yield item
        progress.step()
