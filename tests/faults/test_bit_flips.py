"""Flip bits of what is stored, and cut it: every change is found before a tensor exists.

The tests run a sample. ``python -m tests.faults.test_bit_flips --count 1000 --seed 0`` runs it in full, and prints how
many changes were found for each kind of file.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from ledger.errors import ObjectError
from ledger.store.objects.encryption import CHUNK
from ledger.store.objects.object_store import ObjectStore
from ledger.weights import tensor_files

KINDS = ("weights", "class space", "key", "unencrypted weights")
STEP = 4096
"""Bytes between two cuts: a page of a file system."""
SAMPLE = 60
"""Flips of each kind in a test run."""


@dataclass
class Victim:
    """A stored object and the file of it that is damaged."""

    store: ObjectStore
    digest: str
    file: Path
    whole: bytes
    length: int
    """Plain bytes."""

    def restore(self) -> None:
        """Put back what was there."""
        self.damage(self.whole)

    def damage(self, content: bytes) -> None:
        """Put something else there."""
        self.file.chmod(0o644)
        self.file.write_bytes(content)


def victim(kind: str, folder: Path, *, seed: int = 0) -> Victim:
    """Store something of a kind."""
    store = ObjectStore(folder / "objects", folder / "keys")
    generator = torch.Generator().manual_seed(seed)
    if kind == "class space":
        factors = {f"{n}.weight": torch.randn(64, 300, generator=generator).half() for n in range(20)}
        data = tensor_files.serialise(factors)
    else:
        # More than one chunk.
        data = tensor_files.serialise({f"{n}.weight": torch.randn(256, 256, generator=generator) for n in range(6)})
        assert len(data) > CHUNK
    digest = store.put(data)
    file = folder / "objects" / digest[:2] / digest[2:]
    if kind == "key":
        file = store.keys.folder / digest
    if kind.startswith("unencrypted"):
        store.destroy(digest)
        file.write_bytes(data)
    return Victim(store, digest, file, file.read_bytes(), len(data))


def flipped(whole: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield copies with one bit flipped each, in seeded places; a small file's bits all in turn."""
    bits = 8 * len(whole)
    places = range(bits) if bits <= count else random.Random(seed).sample(range(bits), count)
    for place in places:
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        yield f"bit {place}", bytes(changed)


def cuts(whole: bytes, most: int | None = None) -> Iterator[tuple[str, bytes]]:
    """Yield the file cut at each page, and just before its end; with ``most``, about so many of these."""
    places = [*range(0, len(whole), STEP), len(whole) - 1]
    stride = 1 if most is None else max(1, len(places) // most)
    for place in sorted({*places[::stride], 0, len(whole) - 1}):
        yield f"cut at {place}", whole[:place]


def found(subject: Victim, content: bytes) -> str:
    """Damage a file and return the fault that reading it names; empty if the damage goes unnoticed."""
    subject.damage(content)
    try:
        tensor_files.parse(subject.store.get(subject.digest), "the object")
    except ObjectError as error:
        return error.fault
    return ""


def run(kind: str, changes: Iterator[tuple[str, bytes]], subject: Victim) -> tuple[Counter[str], list[str]]:
    """Damage a file in each way; count the faults that are named, and list what went unnoticed."""
    faults: Counter[str] = Counter()
    missed = []
    for name, content in changes:
        fault = found(subject, content)
        faults[fault] += 1
        if not fault:
            missed.append(f"{kind}: {name}")
    subject.restore()
    return faults, missed


@pytest.fixture
def no_tensors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note when anything starts to build tensors."""
    built: list[str] = []

    def noted(*arguments: Any) -> Any:
        built.append("a tensor")
        return load(*arguments)

    monkeypatch.setattr("ledger.weights.tensor_files.load", noted)
    return built


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [flipped, cuts])
def test_a_change_is_found_before_a_tensor_exists(
    tmp_path: Path, kind: str, change: Callable[..., Iterator[tuple[str, bytes]]], no_tensors: list[str]
) -> None:
    subject = victim(kind, tmp_path)
    changes = flipped(subject.whole, SAMPLE, 0) if change is flipped else cuts(subject.whole, SAMPLE)
    faults, missed = run(kind, changes, subject)
    assert (missed, no_tensors) == ([], [])
    assert faults.total() >= (2 if kind == "key" and change is cuts else SAMPLE)
    assert set(faults) <= ({"key damaged"} if kind == "key" else {"altered", "truncated"})
    # And nothing but the damage was in the way.
    assert found(subject, subject.whole) == ""
    assert no_tensors == ["a tensor"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_of_every_byte_names_it_and_storing_again_heals_it(tmp_path: Path, kind: str) -> None:
    subject = victim(kind, tmp_path)
    data = subject.store.get(subject.digest)
    for _, content in [*list(flipped(subject.whole, SAMPLE, 1))[:3], *cuts(subject.whole, 2)]:
        subject.damage(content)
        with pytest.raises(ObjectError):
            subject.store.check(subject.digest, subject.length, read_data=True)
        assert subject.store.put(data) == subject.digest
        assert subject.store.get(subject.digest) == data
        subject.store.check(subject.digest, subject.length, read_data=True)
        if kind == "key":
            subject.whole = subject.file.read_bytes()


def main() -> int:
    """Run in full and print the counts."""
    parser = argparse.ArgumentParser(description="Flip bits of stored files, and cut them at every page.")
    parser.add_argument("--count", type=int, default=1000, help="flips of each kind of file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unnoticed = []
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(KINDS):
            subject = victim(kind, Path(folder) / str(number), seed=options.seed)
            for name, changes in (
                ("flips", flipped(subject.whole, options.count, options.seed)),
                ("cuts", cuts(subject.whole)),
            ):
                faults, missed = run(kind, changes, subject)
                unnoticed += missed
                named = ", ".join(f"{count} {fault or 'UNNOTICED'}" for fault, count in sorted(faults.items()))
                print(f"{kind} ({len(subject.whole)} bytes): {faults.total()} {name}: {named}")  # noqa: T201
    print(f"unnoticed: {len(unnoticed)}", *unnoticed[:20])  # noqa: T201
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
