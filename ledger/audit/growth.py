"""Grow a Merkle tree over many leaf hashes at once: the fast road for whoever walks a whole history.

:class:`ledger.audit.merkle.Frontier` appends one leaf at a time, which is right for one entry in a transaction. Here,
leaves are folded 256 at a time, level by level.
"""

from collections.abc import Iterator, Sequence

from .merkle import Frontier, tree_root

LEVELS = (8, 16, 24)
"""Levels whose complete subtrees are worth storing: 256, 65,536 and 16,777,216 leaves."""
BLOCK = 1 << LEVELS[0]


class Growth:
    """A tree that only grows, with the roots of the subtrees it completes on the way.

    Args:
        frontier: The tree to begin with.
    """

    def __init__(self, frontier: Frontier | None = None) -> None:
        start = frontier or Frontier()
        whole, rest = divmod(start.size, BLOCK)
        self._blocks = Frontier(whole, start.peaks[: whole.bit_count()])
        self._head = Frontier(rest, start.peaks[whole.bit_count() :])
        """Peaks of a last block that was begun by somebody else, whose leaves are not known here."""
        self._leaves: list[bytes] = []

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._blocks.size * BLOCK + self._head.size + len(self._leaves)

    @property
    def frontier(self) -> Frontier:
        """What appending one by one goes on from."""
        rest = self._head
        for leaf in self._leaves:
            rest, _ = rest.append(leaf)
        return Frontier(self.size, self._blocks.peaks + rest.peaks)

    def extend(self, leaves: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
        """Append leaf hashes; return (level, position, hash) of each subtree of a stored level that this completes."""
        completed: list[tuple[int, int, bytes]] = []
        start = 0
        while start < len(leaves):
            stop = start + BLOCK - self._head.size - len(self._leaves)
            self._leaves += leaves[start:stop]
            start = stop
            if self._head.size + len(self._leaves) == BLOCK:
                completed += self._complete()
        return completed

    def _complete(self) -> Iterator[tuple[int, int, bytes]]:
        rest = self._head
        if rest.size:
            for leaf in self._leaves:
                rest, _ = rest.append(leaf)
            block = rest.root
        else:
            block = tree_root(self._leaves)
        self._head, self._leaves = Frontier(), []
        self._blocks, completed = self._blocks.append(block)
        for above, node in completed:
            level = LEVELS[0] + above
            if level in LEVELS:
                yield level, (self._blocks.size >> above) - 1, node
