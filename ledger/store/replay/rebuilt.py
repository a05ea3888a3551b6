"""What a log amounts to when it is taken as it is."""

from ledger.audit.events import AuditEvent
from ledger.errors import AuditError
from ledger.store.audit.log import AuditLog

from .replayed import Replayed


def rebuild(log: AuditLog) -> tuple[Replayed, list[AuditEvent]]:
    """Return the rows that a log amounts to, and the entries that make no sense; the log is taken as it is."""
    replayed, odd = Replayed(), []
    for entry in log.events():
        try:
            replayed.apply(entry)
        except (KeyError, ValueError, AuditError):
            odd.append(entry)
    return replayed, odd
