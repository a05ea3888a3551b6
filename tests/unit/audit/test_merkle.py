"""The Merkle tree: published vectors, every proof of small trees, and proofs that must not hold."""

import base64
import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    frontier_at,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_at,
    tree_root,
    verify_inclusion,
)
from ledger.audit.tree_builder import BLOCK, STORED_LEVELS, TreeBuilder
from ledger.certificates.verifier import included
from tests.unit.merkle_trees import subtree_over

VECTORS = json.loads((Path(__file__).parent / "vectors" / "rfc6962.json").read_text())
LEAVES = [leaf_hash(bytes.fromhex(text)) for text in VECTORS["leaves"]]
MUTATIONS = 10_000
GARBAGE = base64.b64decode("q6yroAAAAAAAAAAAAAAAAAAAAAAAAAAAAGAGHgASNFY=")
"""The hash that the published vectors put in the middle of an inclusion proof."""
SIZE = 256
HASHES = [leaf_hash(number.to_bytes(2, "big")) for number in range(SIZE)]


def decoded(vector: dict[str, Any]) -> dict[str, Any]:
    """Return a vector with its hashes as bytes."""
    values = {k: base64.b64decode(v) if isinstance(v, str) else v for k, v in vector.items()}
    return {**values, "proof": [base64.b64decode(part) for part in vector["proof"]]}


INCLUSION = [decoded(vector) for vector in VECTORS["inclusion"]]
Check = Callable[[bytes, int, int, Sequence[bytes], bytes], bool]
CHECKS = pytest.mark.parametrize("check", [verify_inclusion, included])
"""The log's check of inclusion proofs and that of the stand-alone verifier of certificates: two, written apart."""


def includes(check: Check, v: dict[str, Any]) -> bool:
    return check(v["leafHash"], v["leafIdx"], v["treeSize"], v["proof"], v["root"])


def flipped(part: bytes, bit: int) -> bytes:
    return bytes([part[0] ^ 1 << bit]) + part[1:]


def broken_proofs(proof: list[bytes], *roots: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Yield what is done to the proof itself, as the published invalid vectors do it."""
    for at in range(len(proof)):
        for bit in (3, 4):
            yield f"bit {bit} of part {at}", [*proof[:at], flipped(proof[at], bit), *proof[at + 1 :]]
    yield "empty part behind", [*proof, b""]
    yield "empty part before", [b"", *proof]
    for root in roots:
        yield "root behind", [*proof, root]
        yield "root before", [root, *proof]
    if proof:
        yield "last part removed", proof[:-1]
        yield "first part removed", proof[1:]
        yield "no proof", []
        yield "part inserted", [proof[0], *proof]
        yield "garbage inserted", [proof[0], GARBAGE, *proof[1:]]
        yield "first part behind", [*proof, proof[0]]


def invalid_inclusion() -> Iterator[Any]:
    for n, v in enumerate(INCLUSION):
        index, size, random_hash = v["leafIdx"], v["treeSize"], bytes.fromhex("ab" * 32)
        changes: list[tuple[str, dict[str, Any]]] = [
            ("index less", {"leafIdx": index - 1}),
            ("index more", {"leafIdx": index + 1}),
            ("index flipped", {"leafIdx": index ^ 2}),
            ("size doubled", {"treeSize": size * 2}),
            ("size halved", {"treeSize": size // 2}),
            ("another leaf", {"leafHash": random_hash}),
            ("no root", {"root": b""}),
            ("another root", {"root": random_hash}),
            *((name, {"proof": proof}) for name, proof in broken_proofs(v["proof"], v["root"])),
        ]
        yield from (pytest.param({**v, **change}, id=f"{n} {name}") for name, change in changes)


# -- published vectors --------------------------------------------------------------------------------


@CHECKS
@pytest.mark.parametrize("vector", INCLUSION)
def test_a_published_inclusion_proof_holds_and_is_the_one_we_make(check: Check, vector: dict[str, Any]) -> None:
    assert includes(check, vector)
    leaves = LEAVES[: vector["treeSize"]]
    assert tree_root(leaves) == vector["root"]
    assert leaves[vector["leafIdx"]] == vector["leafHash"]
    assert inclusion_proof(vector["leafIdx"], vector["treeSize"], subtree_over(leaves)) == vector["proof"]


@CHECKS
@pytest.mark.parametrize("vector", list(invalid_inclusion()))
def test_an_inclusion_proof_that_was_tampered_with_does_not_hold(check: Check, vector: dict[str, Any]) -> None:
    assert not includes(check, vector)


@CHECKS
@pytest.mark.parametrize(
    ("leaf", "index", "size", "proof", "root"),
    [
        (EMPTY_ROOT, 0, 0, [], EMPTY_ROOT),
        (LEAVES[0], 0, 0, [], LEAVES[0]),
        (LEAVES[0], -1, 1, [], LEAVES[0]),
        (LEAVES[0], 1, 1, [], LEAVES[0]),
        (LEAVES[0], 0, -1, [], LEAVES[0]),
        (LEAVES[0], 0, 1, [], EMPTY_ROOT),
        (LEAVES[0], 0, 1, [EMPTY_ROOT], LEAVES[0]),
        (LEAVES[0], 0, 2, [], LEAVES[0]),
        (LEAVES[0], 1, 2, [LEAVES[1]], node_hash(LEAVES[0], LEAVES[1])),
        (LEAVES[1], 0, 2, [LEAVES[0]], node_hash(LEAVES[0], LEAVES[1])),
        (b"", 0, 1, [], EMPTY_ROOT),
    ],
)
def test_a_degenerate_inclusion_proof_does_not_hold(
    check: Check, leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes
) -> None:
    assert not check(leaf, index, size, proof, root)


def test_the_empty_tree_is_that_of_rfc_6962() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tree_root([]) == Frontier().root == root_at(0, subtree_over([])) == EMPTY_ROOT
    assert not verify_inclusion(EMPTY_ROOT, 0, 0, [], EMPTY_ROOT)


# -- every proof of small trees -----------------------------------------------------------------------


@cache
def node(start: int, stop: int) -> bytes:
    if stop - start == 1:
        return HASHES[start]
    middle = (start + stop) // 2
    return node_hash(node(start, middle), node(middle, stop))


def recursive_root(leaves: list[bytes]) -> bytes:
    """Return the root as RFC 6962 defines it, by recursion."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(recursive_root(leaves[:split]), recursive_root(leaves[split:]))


ROOTS = [root_at(size, node) for size in range(SIZE + 1)]


def test_roots_are_those_of_the_recursive_definition() -> None:
    frontier = Frontier()
    for size in range(1, SIZE + 1):
        frontier, completed = frontier.append(HASHES[size - 1])
        expected = recursive_root(HASHES[:size])
        assert ROOTS[size] == frontier.root == tree_root(HASHES[:size]) == expected
        assert frontier == frontier_at(size, node)
        assert completed == tuple((level, node(size - (1 << level), size)) for level in range(len(completed)))


def test_every_inclusion_proof_up_to_size_256_holds() -> None:
    for size in range(1, SIZE + 1):
        for index in range(size):
            proof = inclusion_proof(index, size, node)
            assert verify_inclusion(HASHES[index], index, size, proof, ROOTS[size])


def test_a_proof_of_what_is_not_there_is_refused() -> None:
    for index, size in ((0, 0), (3, 3), (-1, 3)):
        with pytest.raises(ValueError, match="has no leaf"):
            inclusion_proof(index, size, node)


# -- proofs that must not hold ------------------------------------------------------------------------


def mutated(proof: list[bytes], choice: random.Random) -> list[bytes]:
    """Return another proof: a bit, a part more, less, exchanged or replaced."""
    at = choice.randrange(len(proof))
    kind = choice.choice(["bit", "drop", "repeat", "swap", "replace", "append"])
    if kind == "bit":
        byte = choice.randrange(32)
        part = bytearray(proof[at])
        part[byte] ^= 1 << choice.randrange(8)
        return [*proof[:at], bytes(part), *proof[at + 1 :]]
    if kind == "drop":
        return proof[:at] + proof[at + 1 :]
    if kind == "repeat":
        return [*proof[: at + 1], *proof[at:]]
    if kind == "swap":
        other = choice.randrange(len(proof))
        changed = list(proof)
        changed[at], changed[other] = changed[other], changed[at]
        return changed
    if kind == "replace":
        return [*proof[:at], choice.randbytes(32), *proof[at + 1 :]]
    return [*proof, choice.randbytes(32)]


def test_no_mutated_proof_holds() -> None:
    choice = random.Random(0)
    rejected = 0
    while rejected < MUTATIONS:
        size = choice.randrange(2, SIZE + 1)
        index = choice.randrange(size)
        proof = inclusion_proof(index, size, node)
        changed = mutated(proof, choice)
        held = verify_inclusion(HASHES[index], index, size, changed, ROOTS[size])
        if changed != proof:
            assert not held, (size, proof, changed)
            rejected += 1


# -- growing fast -------------------------------------------------------------------------------------


@given(start=st.integers(0, 3 * BLOCK), parts=st.lists(st.integers(0, 2 * BLOCK), max_size=4))
def test_growing_by_the_page_is_appending_one_by_one(start: int, parts: list[int]) -> None:
    frontier, expected = Frontier(), []
    for number in range(start):
        frontier, _ = frontier.append(leaf_hash(number.to_bytes(4, "big")))
    growth, size, found = TreeBuilder(frontier), start, []
    for part in parts:
        leaves = [leaf_hash(number.to_bytes(4, "big")) for number in range(size, size + part)]
        found += growth.extend(leaves)
        for leaf in leaves:
            frontier, completed = frontier.append(leaf)
            expected += [(k, (frontier.size >> k) - 1, hashed) for k, hashed in completed if k in STORED_LEVELS]
        size += part
        assert (growth.size, growth.frontier) == (size, frontier)
    assert found == expected


def test_growing_completes_the_second_stored_level() -> None:
    leaves = [leaf_hash(number.to_bytes(4, "big")) for number in range(1 << STORED_LEVELS[1])]
    completed = TreeBuilder().extend(leaves)
    assert [position for level, position, _ in completed if level == STORED_LEVELS[0]] == list(range(256))
    assert completed[-1] == (STORED_LEVELS[1], 0, tree_root(leaves))
