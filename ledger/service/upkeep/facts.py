"""What a ledger is: the first thing that somebody asks who reaches it from elsewhere."""

from dataclasses import dataclass
from datetime import datetime

from ledger import __version__
from ledger.errors import LedgerError
from ledger.service.ledger import Ledger


@dataclass(frozen=True)
class LedgerFacts:
    """What a ledger is, and whether it may be written to."""

    release: str
    now: datetime
    time_zone: str
    entries: int
    """Entries of the audit log."""
    head: str
    """Their number and the hash of the last one."""
    problem: LedgerError | None
    """Why nothing may be written here: the keys of another ledger, or an older database."""


def read_facts(ledger: Ledger) -> LedgerFacts:
    """Return what a ledger is."""
    with ledger.database.read() as tx:
        head = tx.audit.head()
    return LedgerFacts(
        release=__version__,
        now=ledger.clock(),
        time_zone=ledger.config.time_zone,
        entries=head.size,
        head=str(head),
        problem=ledger.problem(),
    )
