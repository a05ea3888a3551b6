"""How a long operation reports its progress, without knowing to whom."""

from collections.abc import Callable, Iterable, Iterator
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


class InterruptibleProgress:
    """An observer that passes phases and steps on, and can end the work at each of them.

    Args:
        observer: Who is told of phases and steps.
        checks: Called before each; one that raises ends the work.
    """

    def __init__(self, observer: Progress, *checks: Callable[[], None]) -> None:
        self._observer = observer
        self._checks = checks

    def phase(self, name: str, total: int | None = None) -> None:
        """Begin a phase, unless a check ends the work."""
        self._check()
        self._observer.phase(name, total)

    def step(self) -> None:
        """Count a step, unless a check ends the work."""
        self._check()
        self._observer.step()

    def _check(self) -> None:
        for check in self._checks:
            check()


def counted(progress: Progress, items: Iterable[T]) -> Iterator[T]:
    """Yield items, counting a step after each."""
    for item in items:
        yield item
        progress.step()
