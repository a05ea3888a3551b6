"""A limit on the memory that several threads use at the same time for decoding images."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class MemoryBudget:
    """Lets a piece of work begin once its memory fits beside that of the work under way.

    Args:
        total: Bytes in all. A piece that needs more by itself begins when no other is under way.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._taken = 0
        self._changed = Condition()

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes while the block runs, and wait for them first. Nested, it would wait for itself."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + size <= self._total)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()
