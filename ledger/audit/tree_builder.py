"""Build a Merkle tree over many leaf hashes, which is fast enough to verify a whole log.

:class:`ledger.audit.merkle.Frontier` appends one leaf at a time, which suits one entry in a transaction. The builder
hashes blocks of 256 leaves, level by level.
"""

from collections.abc import Iterator, Sequence

from .merkle import Frontier, tree_root

STORED_LEVELS = (8, 16, 24)
"""Tree levels whose complete subtrees are stored: those over 256, 65,536 and 16,777,216 leaves."""
BLOCK = 1 << STORED_LEVELS[0]
"""Leaves in a subtree of the lowest stored level."""


def grown(frontier: Frontier, leaves: Sequence[bytes]) -> tuple[Frontier, list[tuple[int, int, bytes]]]:
    """Return the tree with more leaf hashes, and what :meth:`TreeBuilder.extend` returns.

    Args:
        frontier: The tree before.
        leaves: SHA-256 leaf hashes, 32 bytes each.
    """
    if len(leaves) != 1:
        builder = TreeBuilder(frontier)
        completed = builder.extend(leaves)
        return builder.frontier, completed
    after, nodes = frontier.append(leaves[0])
    return after, [(level, (after.size >> level) - 1, node) for level, node in nodes if level in STORED_LEVELS]


class TreeBuilder:
    """A tree that leaves are appended to. It reports each subtree of a stored level that becomes complete.

    Args:
        frontier: The tree to start from; None for an empty one.
    """

    def __init__(self, frontier: Frontier | None = None) -> None:
        start = frontier or Frontier()
        whole, rest = divmod(start.size, BLOCK)
        self._blocks = Frontier(whole, start.peaks[: whole.bit_count()])
        self._head = Frontier(rest, start.peaks[whole.bit_count() :])
        """Peaks of the block that was incomplete at the start: its leaves are not known here."""
        self._leaves: list[bytes] = []

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._blocks.size * BLOCK + self._head.size + len(self._leaves)

    @property
    def frontier(self) -> Frontier:
        """The same tree, for appending one leaf at a time."""
        rest = self._head
        for leaf in self._leaves:
            rest, _ = rest.append(leaf)
        return Frontier(self.size, self._blocks.peaks + rest.peaks)

    def extend(self, leaves: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
        """Append leaf hashes.

        Args:
            leaves: SHA-256 leaf hashes, 32 bytes each.

        Returns:
            Level, position (from 0, counted in subtrees of that level) and hash of each subtree of a stored level that
            these leaves complete.
        """
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
            level = STORED_LEVELS[0] + above
            if level in STORED_LEVELS:
                yield level, (self._blocks.size >> above) - 1, node
