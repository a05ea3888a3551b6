"""The head of the audit log: one row that says how far it reaches, locked by whoever appends."""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import Table, select, update
from sqlalchemy.orm import Session

from ledger.audit.chain import Head
from ledger.audit.merkle import Frontier
from ledger.errors import AuditError
from ledger.store.database.tables import AuditHeadRow

HEAD_ID = 1
HEAD = cast("Table", AuditHeadRow.__table__)
# Built once: putting a statement together costs more than carrying it out.
READ = select(HEAD.c.size, HEAD.c.digest, HEAD.c.root, HEAD.c.peaks).where(HEAD.c.id == HEAD_ID)
# SQLite ignores FOR UPDATE: there, BEGIN IMMEDIATE already holds the only write lock.
LOCK = READ.with_for_update()
WRITE = update(HEAD).where(HEAD.c.id == HEAD_ID)


@dataclass(frozen=True)
class Recorded:
    """What the row says; nothing in it is trusted before the audit log was verified."""

    head: Head
    root: str
    peaks: tuple[str, ...]

    @property
    def frontier(self) -> Frontier:
        """The hash tree that the next entry goes on.

        Raises:
            AuditError: The row's peaks are none of a tree of this size.
        """
        try:
            peaks = tuple(bytes.fromhex(peak) for peak in self.peaks)
        except (TypeError, ValueError):
            peaks = ()
        if len(peaks) != self.head.size.bit_count():
            raise AuditError(
                "the recorded peaks of the hash tree do not fit its size",
                "see: unledger audit verify",
                seq=self.head.size + 1,
            )
        return Frontier(self.head.size, peaks)


def read_head(session: Session, *, lock: bool) -> Recorded:
    """Return the head; with ``lock``, nobody else appends until this transaction ends.

    Raises:
        AuditError: There is none.
    """
    row = session.connection().execute(LOCK if lock else READ).one_or_none()
    if row is None:
        raise AuditError("the head of the audit history is missing", "restore the database", seq=1)
    size, digest, root, peaks = row
    return Recorded(Head(size, digest), root, tuple(peaks) if isinstance(peaks, list) else ())


def write_head(session: Session, recorded: Recorded) -> None:
    """Record where the audit log ends now."""
    values = {
        "size": recorded.head.size,
        "digest": recorded.head.digest,
        "root": recorded.root,
        "peaks": list(recorded.peaks),
    }
    session.connection().execute(WRITE, values)
