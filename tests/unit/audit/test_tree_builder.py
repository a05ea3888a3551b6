"""Trees over many leaves: one leaf at a time or many at once, they are the same."""

from __future__ import annotations

import hashlib

import pytest

from ledger.audit.merkle import Frontier, tree_root
from ledger.audit.tree_builder import BLOCK, TreeBuilder, grown

LEAVES = [hashlib.sha256(str(number).encode()).digest() for number in range(3 * BLOCK + 5)]


@pytest.mark.parametrize("size", [0, 1, 2, 3, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK])
def test_a_leaf_alone_grows_a_tree_as_a_leaf_among_others_does(size: int) -> None:
    builder = TreeBuilder()
    builder.extend(LEAVES[:size])
    before = builder.frontier
    for count in (1, 2, 5):
        along = TreeBuilder(before)
        completed = along.extend(LEAVES[size : size + count])
        one_by_one, found = before, []
        for leaf in LEAVES[size : size + count]:
            one_by_one, more = grown(one_by_one, [leaf])
            found += more
        assert one_by_one == along.frontier == grown(before, LEAVES[size : size + count])[0]
        assert found == completed
        assert one_by_one.root == tree_root(LEAVES[: size + count])


def test_a_tree_that_nothing_is_added_to_stays_as_it_is() -> None:
    assert grown(Frontier(), []) == (Frontier(), [])
