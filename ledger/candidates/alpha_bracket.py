"""Find the weakest strength on a grid that forgets, with few trials, from a good guess."""


class AlphaBracket:
    """A bracket around the first position on a grid at which trials begin to pass.

    Assumes that whatever lies beyond a passing position passes too. The caller tries :attr:`position` and reports the
    result until that is None. Trials go one step up or down from the start, then two steps at a time until the result
    changes, and then halve the gap.

    Args:
        size: Number of positions on the grid, at least 1.
        start: Where to try first, in [0, ``size``).
    """

    def __init__(self, size: int, start: int) -> None:
        self._size = size
        self._last_failing = -1
        self._first_passing = size
        self._next = start
        self._stride = 1

    @property
    def position(self) -> int | None:
        """The position to try next; None once the first passing one is known."""
        return None if self._first_passing - self._last_failing == 1 else self._next

    @property
    def first_passing(self) -> int:
        """The lowest position known to pass; ``size`` if none is known."""
        return self._first_passing

    @property
    def any_passed(self) -> bool:
        """Whether a position is known to pass."""
        return self._first_passing < self._size

    def passed(self) -> None:
        """Report that the trial at :attr:`position` passed."""
        self._first_passing = self._next
        self._advance()

    def failed(self) -> None:
        """Report that the trial at :attr:`position` failed."""
        self._last_failing = self._next
        self._advance()

    def _advance(self) -> None:
        if not self.any_passed:
            self._next = min(self._last_failing + self._stride, self._size - 1)
        elif self._last_failing < 0:
            self._next = max(self._first_passing - self._stride, 0)
        else:
            self._next = (self._last_failing + self._first_passing) // 2
        self._stride = 2
