"""Read the entries of the audit log."""

from ledger.audit.events import AuditEvent
from ledger.service.ledger import Ledger


def list_events(
    ledger: Ledger, model_name: str | None = None, *, after: int = 0, limit: int | None = None
) -> list[AuditEvent]:
    """Return the entries of the log, or of one model, oldest first: those numbered above ``after``, at most ``limit``.

    Raises:
        NotFoundError: There is no such model.
    """
    with ledger.database.read() as tx:
        if model_name is not None:
            tx.models.get(model_name)
        return list(tx.audit.events(model=model_name, after=after, limit=limit))


def count_events(ledger: Ledger, model_name: str | None = None, *, after: int = 0) -> int:
    """Return how many entries :func:`list_events` returns without a limit.

    Raises:
        NotFoundError: There is no such model.
    """
    with ledger.database.read() as tx:
        if model_name is not None:
            tx.models.get(model_name)
        return tx.audit.count(model=model_name, after=after)
