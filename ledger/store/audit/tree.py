"""The stored part of the Merkle tree over the audit log: subtrees of 256, 65,536 and 16,777,216 entries.

Every proof asks for a handful of subtrees. With these, each is answered from at most 256 rows, however long the
history is. What is stored saves time and proves nothing by itself: :meth:`AuditLog.verify` compares it with
the entries.
"""

from typing import cast

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from ledger.audit.merkle import tree_root
from ledger.audit.tree_builder import STORED_LEVELS
from ledger.errors import AuditError
from ledger.store.database.tables import AuditEventRow, AuditSubtreeRow

FANOUT_BITS = 8
EVENTS, SUBTREES = cast("Table", AuditEventRow.__table__), cast("Table", AuditSubtreeRow.__table__)


class AuditTree:
    """Answers for the hashes of complete subtrees inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._blocks: dict[tuple[int, int], list[bytes]] = {}

    def forget(self) -> None:
        """Read again what is asked for next: entries were added."""
        self._blocks.clear()

    def all(self) -> dict[tuple[int, int], str]:
        """Return every stored subtree, by level and position."""
        query = select(SUBTREES.c.level, SUBTREES.c.position, SUBTREES.c.digest)
        return {(level, position): digest for level, position, digest in self._session.execute(query)}

    def node(self, start: int, stop: int) -> bytes:
        """Return the hash of the complete subtree over entries ``[start, stop)``, counted from 0.

        Raises:
            AuditError: Something of it is missing.
        """
        level = (stop - start).bit_length() - 1
        base = max((stored for stored in (0, *STORED_LEVELS) if stored <= level), default=0)
        first, last = start >> base, stop >> base
        nodes: list[bytes] = []
        while first < last:
            number, offset = first >> FANOUT_BITS, first & ((1 << FANOUT_BITS) - 1)
            taken = self._block(base, number)[offset : offset + last - first]
            if not taken:
                raise AuditError(
                    f"the hash tree lacks entries from {(first << base) + 1} on",
                    "see: unledger audit verify",
                    seq=(first << base) + 1,
                )
            nodes += taken
            first += len(taken)
        return tree_root(nodes)

    def _block(self, base: int, number: int) -> list[bytes]:
        """Return up to 256 neighbouring hashes of one stored level; those before a gap."""
        key = base, number
        if key not in self._blocks:
            first = number << FANOUT_BITS
            if base:
                place, digest = SUBTREES.c.position, SUBTREES.c.digest
                query = select(place, digest).where(SUBTREES.c.level == base)
            else:
                place, digest, first = EVENTS.c.seq, EVENTS.c.digest, first + 1
                query = select(place, digest)
            stop = first + (1 << FANOUT_BITS)
            rows = self._session.execute(query.where(place >= first, place < stop).order_by(place)).all()
            self._blocks[key] = [
                _hash(digest, at) for expected, (at, digest) in enumerate(rows, start=first) if at == expected
            ]
        return self._blocks[key]


def _hash(digest: str, place: int) -> bytes:
    try:
        return bytes.fromhex(digest)
    except ValueError:
        raise AuditError("the hash tree holds something other than hashes", seq=place) from None
