"""Merkle trees that tests hold in memory."""

from collections.abc import Sequence

from ledger.audit.merkle import Subtree, tree_root


def subtree_over(leaves: Sequence[bytes]) -> Subtree:
    """Return a ``node`` callable over leaf hashes that are all in memory."""
    return lambda start, stop: tree_root(leaves[start:stop])
