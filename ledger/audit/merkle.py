"""The Merkle tree of RFC 6962, section 2.1: roots and inclusion proofs over leaf hashes.

Pure functions over 32-byte SHA-256 hashes. No function needs the whole tree in memory: :class:`Frontier` appends in
logarithmic memory, and proofs ask a ``node`` callable for the hashes of complete subtrees. With some of these stored, a
proof over a million leaves takes a few hundred hashes.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

LEAF_PREFIX, NODE_PREFIX = b"\x00", b"\x01"
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of a tree without leaves."""

Subtree = Callable[[int, int], bytes]
"""Returns the hash of the complete subtree over leaves ``[start, stop)``.

Their number is a power of two, and ``start`` a multiple of it.
"""


@dataclass(frozen=True)
class Frontier:
    """The state that appending to a tree needs: its size and the roots of the complete subtrees it consists of."""

    size: int = 0
    """Number of leaves."""
    peaks: tuple[bytes, ...] = ()
    """Roots of the complete subtrees, largest first."""

    def append(self, leaf: bytes) -> tuple["Frontier", tuple[tuple[int, bytes], ...]]:
        """Return the tree with one more leaf hash, and level and hash of each subtree this completes, leaf first."""
        peaks, node, level, rest = list(self.peaks), leaf, 0, self.size
        completed = [(0, leaf)]
        while rest & 1:
            node, level, rest = node_hash(peaks.pop(), node), level + 1, rest >> 1
            completed.append((level, node))
        return Frontier(self.size + 1, (*peaks, node)), tuple(completed)

    @property
    def root(self) -> bytes:
        """The tree's root (RFC 6962, ``MTH``)."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf's bytes."""
    return hashlib.sha256(LEAF_PREFIX + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, level by level: an unpaired last node moves up as it is."""
    row = list(leaves)
    if not row:
        return EMPTY_ROOT
    while len(row) > 1:
        paired = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=False)]
        row = paired + row[-1:] if len(row) % 2 else paired
    return row[0]


def root_at(size: int, node: Subtree) -> bytes:
    """Return the root of the tree over the first ``size`` leaves."""
    return _range_hash(0, size, node) if size else EMPTY_ROOT


def frontier_at(size: int, node: Subtree) -> Frontier:
    """Return the state for appending to the tree over the first ``size`` leaves."""
    return Frontier(size, tuple(node(start, stop) for start, stop in _complete(0, size)))


def inclusion_proof(index: int, size: int, node: Subtree) -> list[bytes]:
    """Return the audit path of leaf ``index`` (from 0) in the tree of ``size`` leaves (RFC 6962, section 2.1.1).

    The hashes go from the leaf's sibling up to the child of the root.

    Raises:
        ValueError: There is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    path = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_range_hash(middle, stop, node))
            stop = middle
        else:
            path.append(_range_hash(start, middle, node))
            start = middle
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a leaf hash stands at ``index`` of the tree with this size and root (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size or any(len(part) != len(EMPTY_ROOT) for part in proof):
        return False
    node, last, found = index, size - 1, leaf
    for part in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(part, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, part)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


def _range_hash(start: int, stop: int, node: Subtree) -> bytes:
    """Return the hash of the inner node over leaves ``[start, stop)``."""
    parts = [node(left, right) for left, right in _complete(start, stop)]
    found = parts.pop()
    while parts:
        found = node_hash(parts.pop(), found)
    return found


def _complete(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the complete subtrees that a range consists of, largest first."""
    while start < stop:
        width = 1 << ((stop - start).bit_length() - 1)
        yield start, start + width
        start += width


def _split(size: int) -> int:
    """Return the largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)
