"""Daemons, and when each was last heard of. This is presence, not evidence, so the audit log has no entries of it."""

from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from ledger.domain.workers import Worker
from ledger.store.database.engine import database_time
from ledger.store.database.tables import WorkerRow

FORGOTTEN_AFTER = 86_400.0
"""Seconds after which a worker that vanished is no longer listed at all."""


class Workers:
    """Workers that said they were there."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def seen(self, owner: str, model: str | None, *, started_at: datetime) -> None:
        """Note that a worker is there now, on the database's clock."""
        now = database_time()
        values = {"last_seen": now}
        known = update(WorkerRow).where(WorkerRow.owner == owner).values(values).returning(WorkerRow.owner)
        if self._session.scalar(known.execution_options(synchronize_session=False)) is None:
            self._session.add(WorkerRow(owner=owner, model=model, started_at=started_at, last_seen=now))
            self._session.flush()

    def gone(self, owner: str) -> None:
        """Forget a worker that ends, and those that were not heard of for a day."""
        stale = WorkerRow.last_seen < database_time() - FORGOTTEN_AFTER
        statement = delete(WorkerRow).where((WorkerRow.owner == owner) | stale)
        self._session.execute(statement.execution_options(synchronize_session=False))

    def all(self) -> list[Worker]:
        """Return every worker that did not say it ended, the longest there first."""
        query = select(WorkerRow, database_time() - WorkerRow.last_seen).order_by(WorkerRow.started_at, WorkerRow.owner)
        return [
            Worker(row.owner, row.model, row.started_at, max(0.0, idle)) for row, idle in self._session.execute(query)
        ]
