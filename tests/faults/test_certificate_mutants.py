"""Bend certificates at random and see that the verifier rejects each, in its own words and without delay.

The tests run a sample. ``python -m tests.faults.test_certificate_mutants --count 100000 --seed 0`` bends more.

A mutant that verifies must say exactly what the original says (white space between JSON tokens may differ). What is
bent are the certificates that are kept of each format.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger.certificates.verifier import Key, RejectedError, verify

GOLDEN = Path(__file__).parents[1] / "golden" / "certificates"
SAMPLE = 2000
"""Mutants in a test run."""
STRANGE: list[Any] = [None, True, -1, 2**53, 1e308, "", "\ud800", [], {}, [[]] * 3, "A" * 1000, 0.5, "index 1", "2026"]
RAW = [b"\x00", b'"', b"\\", b"{", b"[" * 2000, b"9" * 5000, b"1e999", b"NaN", b'"format":1,', b"\xff", b"\n\n", b"="]


def flip(file: bytearray, chance: random.Random, _others: list[bytes]) -> None:
    """Flip a bit."""
    file[chance.randrange(len(file))] ^= 1 << chance.randrange(8)


def cut(file: bytearray, chance: random.Random, _others: list[bytes]) -> None:
    """Cut a piece out, or the end off."""
    start = chance.randrange(len(file))
    del file[start : None if chance.random() < 0.3 else start + chance.randrange(1, 200)]


def insert(file: bytearray, chance: random.Random, _others: list[bytes]) -> None:
    """Put something in that JSON readers stumble over."""
    start = chance.randrange(len(file))
    file[start:start] = chance.choice(RAW)


def splice(file: bytearray, chance: random.Random, others: list[bytes]) -> None:
    """Put in a piece of another certificate."""
    other = chance.choice(others)
    start = chance.randrange(len(file))
    file[start : start + chance.randrange(300)] = other[start : start + chance.randrange(300)]


def swap_part(file: bytearray, chance: random.Random, others: list[bytes]) -> None:
    """Take a part of another certificate, or something strange in its place."""
    parts: Any = json.loads(bytes(file))
    node = parts
    while True:
        step: Any = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not isinstance(node[step], dict | list) or chance.random() < 0.3:
            break
        node = node[step]
    other = json.loads(chance.choice(others))
    node[step] = other[step] if node is parts and chance.random() < 0.5 else chance.choice(STRANGE)
    file[:] = json.dumps(parts).encode()


MUTATIONS: list[Callable[[bytearray, random.Random, list[bytes]], None]] = [flip, cut, insert, splice, swap_part]


def originals() -> list[tuple[Key, list[bytes]]]:
    """Return the certificates of each format with their key."""
    found = []
    for folder in sorted(GOLDEN.iterdir()):
        files = [path.read_bytes() for path in sorted(folder.glob("certificate-*.json"))]
        found.append((Key.parse((folder / "key.txt").read_text()), files))
    return found


def bend(count: int, seed: int) -> Counter[str]:
    """Return how many mutants of each kind were rejected, and how many verify because they say the same.

    Raises:
        AssertionError: One verifies that says something else, or took longer than a second.
    """
    chance, outcomes = random.Random(seed), Counter[str]()
    sets = originals()
    for number in range(count):
        key, files = chance.choice(sets)
        original = chance.choice(files)
        mutate, file = chance.choice(MUTATIONS), bytearray(original)
        mutate(file, chance, files)
        began = time.process_time()
        try:
            found = verify(bytes(file), key)
        except RejectedError:
            outcomes[f"{mutate.__name__} rejected"] += 1
        else:
            same = found in [verify(one, key) for one in files]
            assert same, f"mutant {number} of seed {seed} verifies and says something else"
            outcomes[f"{mutate.__name__} says the same"] += 1
        assert time.process_time() - began < 1, f"mutant {number} of seed {seed} took too long"
    return outcomes


def test_no_mutant_passes_for_something_else() -> None:
    outcomes = bend(SAMPLE, seed=1)
    assert outcomes.total() == SAMPLE
    rejected = {outcome.split()[0] for outcome in outcomes if outcome.endswith("rejected")}
    assert rejected == {mutate.__name__ for mutate in MUTATIONS}


def main(arguments: list[str] | None = None) -> None:
    """Bend as many as asked for and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="mutants")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    outcomes = bend(asked.count, asked.seed)
    for outcome, times in sorted(outcomes.items()):
        sys.stdout.write(f"{outcome}: {times}\n")


if __name__ == "__main__":
    main()
