"""A hash chain over canonical JSON leaves.

Each leaf holds its sequence number and the digest of the leaf before it, so an edited, deleted, inserted or reordered
entry breaks the chain at the first place that differs. The digests are RFC 6962 leaf hashes (section 2.1), so a Merkle
tree over the same entries uses them as they are.

A chain alone cannot show that entries were cut off its end, or that the log was rewritten from some point on with every
digest recomputed. A digest that somebody noted earlier shows both: :mod:`ledger.audit.verification`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ledger.digest import canonical_json, read_json
from ledger.errors import AuditError, UsageError

from .merkle import leaf_hash

GENESIS = "0" * 64
"""The first entry names it as the digest of its predecessor."""

_HEAD = re.compile("([0-9]{1,18}):([0-9a-f]{64})")


class Entry(NamedTuple):
    """One entry as it was read from storage. It is not trusted before :func:`verify_entry`."""

    seq: int
    leaf: str
    digest: str


@dataclass(frozen=True)
class Head:
    """The end of a chain: the number of entries and the digest of the last one.

    A copy kept outside the ledger reveals later changes to those entries.
    """

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
    return leaf_hash(leaf.encode()).hex()


def verify_chain(entries: Iterable[Entry], *, after: Head | None = None) -> Iterator[dict[str, Any]]:
    """Yield each entry's event once its place in the chain is proven.

    Args:
        entries: In storage order.
        after: The head that these entries continue; None if they start with the first entry.

    Raises:
        AuditError: At the first entry that does not belong; ``seq`` names it.
    """
    start = after or Head(0, GENESIS)
    previous = start.digest
    for expected, entry in enumerate(entries, start.size + 1):
        yield verify_entry(entry, expected, previous)
        previous = entry.digest


def verify_entry(entry: Entry, expected: int, previous: str) -> dict[str, Any]:
    """Return an entry's event once its place in the chain is proven.

    Args:
        entry: As it was read.
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
