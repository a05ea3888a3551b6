"""A hash chain over canonical JSON leaves.

Each leaf holds its sequence number and the digest of the leaf before it, so an edited, deleted,
inserted or reordered entry breaks the chain at the first place that differs. Digests carry the leaf
prefix of RFC 6962 section 2.1: they are the leaf hashes of the Merkle tree over the same entries.

What a chain cannot show by itself: entries cut off its end, or a history rewritten from some point
on with every digest recomputed. Both are found by whoever kept a digest from before (``--against``).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ledger.digest import canonical_json, read_json
from ledger.errors import AuditError, UsageError

GENESIS = "0" * 64
"""What the first entry names as its predecessor."""

LEAF_PREFIX = b"\x00"

_HEAD = re.compile("([0-9]{1,18}):([0-9a-f]{64})")


class Entry(NamedTuple):
    """One link as it was found in storage: nothing in it is trusted before :func:`verify`."""

    seq: int
    leaf: str
    digest: str


@dataclass(frozen=True)
class Head:
    """The end of a chain: how many entries, and the digest of the last. Worth keeping elsewhere."""

    size: int
    digest: str

    def __str__(self) -> str:
        return f"{self.size}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read ``SIZE:DIGEST``.

        Raises:
            UsageError: The text has another form.
        """
        found = _HEAD.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is not an audit head", "a head reads SIZE:SHA256, as audit verify prints it")
        return cls(int(found[1]), found[2])


def leaf_text(seq: int, previous: str, event: dict[str, Any]) -> str:
    """Return the canonical JSON text of an entry.

    Args:
        seq: 1 for the first entry, then without gaps.
        previous: Digest of the entry before, or :data:`GENESIS`.
        event: Plain JSON data without the keys ``seq`` and ``previous``.
    """
    return canonical_json({**event, "seq": seq, "previous": previous}).decode()


def leaf_digest(leaf: str) -> str:
    """Return the RFC 6962 leaf hash, SHA-256 over 0x00 and the leaf's bytes, in hexadecimal."""
    return hashlib.sha256(LEAF_PREFIX + leaf.encode()).hexdigest()


def verify(
    entries: Iterable[Entry], *, kept: Head | None = None, after: Head | None = None
) -> Iterator[dict[str, Any]]:
    """Yield each entry's event once its place in the chain is proven.

    Args:
        entries: In the order of storage.
        after: Where the chain was proven up to; None begins with its first entry.
        kept: A head that somebody noted earlier and that this history must contain.

    Raises:
        AuditError: At the first entry that does not belong; ``seq`` names it.
    """
    start = after or Head(0, GENESIS)
    previous, expected = start.digest, start.size + 1
    for entry in entries:
        event = check(entry, expected, previous)
        if kept is not None and kept.size == expected and kept.digest != entry.digest:
            raise AuditError(
                f"entry {expected} differs from the head kept elsewhere: history was rewritten", seq=expected
            )
        yield event
        previous, expected = entry.digest, expected + 1
    if kept is not None and kept.size >= expected:
        raise AuditError(
            f"history ends at entry {expected - 1}, the head kept elsewhere is entry {kept.size}: its end is missing",
            "restore the database from a backup that reaches that far",
            seq=expected,
        )


def check(entry: Entry, expected: int, previous: str) -> dict[str, Any]:
    """Return an entry's event once its place in the chain is proven.

    Args:
        entry: As it was found.
        expected: The sequence number it must have.
        previous: Digest of the entry before it, or :data:`GENESIS`.

    Raises:
        AuditError: It does not belong there.
    """
    if entry.seq != expected:
        raise AuditError(f"entry {expected} is missing: entry {entry.seq} stands in its place", seq=expected)
    if leaf_digest(entry.leaf) != entry.digest:
        raise AuditError(f"entry {expected} was altered: its digest does not match its text", seq=expected)
    try:
        event = read_json(entry.leaf)
    except ValueError as error:
        raise AuditError(f"entry {expected} is not JSON: {error}", seq=expected) from error
    if not isinstance(event, dict) or event.get("seq") != expected:
        raise AuditError(f"entry {expected} carries another sequence number in its text", seq=expected)
    if event.get("previous") != previous:
        raise AuditError(f"entry {expected} does not follow entry {expected - 1}", seq=expected)
    return event
