"""The head of the audit log: one row that says how far it reaches, locked by whoever appends."""

from dataclasses import dataclass

from ledger.audit.chain import Head
from ledger.audit.merkle import Frontier
from ledger.digest import read_json
from ledger.errors import AuditError
from ledger.store.database.open_transaction import OpenTransaction

READ = "SELECT size, digest, root, CAST(peaks AS TEXT) FROM audit_head WHERE id = 1"
LOCK = f"{READ} FOR UPDATE"


@dataclass(frozen=True)
class Recorded:
    """What the row says; nothing in it is trusted before the audit log was verified."""

    head: Head
    root: str
    peaks: str | None
    """JSON: the list of the peaks' hashes."""

    @classmethod
    def of(cls, head: Head, frontier: Frontier) -> "Recorded":
        """Return what the row says of an audit log."""
        peaks = ", ".join([f'"{peak.hex()}"' for peak in frontier.peaks])
        return cls(head, frontier.root.hex(), f"[{peaks}]")

    @property
    def frontier(self) -> Frontier:
        """The hash tree that the next entry goes on.

        Raises:
            AuditError: The row's peaks are none of a tree of this size.
        """
        try:
            found = read_json(self.peaks or "[]")
            peaks = tuple(map(bytes.fromhex, found)) if isinstance(found, list) else ()
        except (TypeError, ValueError):
            peaks = ()
        if len(peaks) != self.head.size.bit_count():
            raise AuditError(
                "the recorded peaks of the hash tree do not fit its size",
                "see: unledger audit verify",
                seq=self.head.size + 1,
            )
        return Frontier(self.head.size, peaks)


def read_head(transaction: OpenTransaction, *, lock: bool) -> Recorded:
    """Return the head; with ``lock``, nobody else appends until this transaction ends.

    Raises:
        AuditError: There is none.
    """
    # On SQLite, BEGIN IMMEDIATE holds the only write lock already.
    row = transaction.ask(LOCK if lock and transaction.on_server else READ)
    if row is None:
        raise AuditError("the head of the audit history is missing", "restore the database", seq=1)
    size, digest, root, peaks = row
    return Recorded(Head(size, digest), root, peaks)
