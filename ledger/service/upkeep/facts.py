"""What a ledger is: the first thing that somebody asks who reaches it from elsewhere."""

from dataclasses import dataclass
from datetime import datetime

from ledger import __version__
from ledger.errors import LedgerError
from ledger.service.guard import named_key
from ledger.service.ledger import Ledger


@dataclass(frozen=True)
class LedgerFacts:
    """What a ledger is, and whether it may be written to."""

    release: str
    now: datetime
    time_zone: str
    log: str
    """Name of the audit log, that of its signing key; empty where none is known."""
    entries: int
    """Entries of the audit log."""
    head: str
    """Their number and the hash of the last one."""
    problem: LedgerError | None
    """Why nothing may be written here: the keys of another ledger, or an older database."""


def read_facts(ledger: Ledger) -> LedgerFacts:
    """Return what a ledger is."""
    with ledger.database.read() as tx:
        head, key = tx.audit.head(), named_key(tx.audit)
    return LedgerFacts(
        release=__version__,
        now=ledger.clock(),
        time_zone=ledger.config.time_zone,
        log="" if key is None else key.partition("+")[0],
        entries=head.size,
        head=str(head),
        problem=ledger.problem(),
    )
