"""Say which stored rows the audit log contradicts."""

from ledger.errors import LedgerError
from ledger.service.ledger import Ledger
from ledger.store.replay.differences import Difference, compare
from ledger.store.replay.rebuilt import rebuild
from ledger.store.replay.replayed import KEYS
from ledger.store.unit_of_work import Transaction


def replay(tx: Transaction) -> list[Difference]:
    """Rebuild every table that the log accounts for; return what the rows say otherwise.

    The log itself is taken as it is: verify it first.
    """
    replayed, odd = rebuild(tx.audit)
    found = [Difference("entries", (entry.seq,), None, None, entry.kind) for entry in odd]
    for table in KEYS:
        found += compare(replayed, tx.projections, table)
    return found


def differences(ledger: Ledger) -> list[str]:
    """Return one sentence for each stored row or column that the audit log contradicts."""
    with ledger.database.read() as tx:
        return differences_in(tx)


def differences_in(tx: Transaction) -> list[str]:
    """Return what :func:`differences` does, as an open transaction sees it."""
    try:
        return [str(difference) for difference in replay(tx)]
    except (LedgerError, LookupError, TypeError, ValueError) as error:
        return [f"the audit log cannot be replayed: {error}"]
