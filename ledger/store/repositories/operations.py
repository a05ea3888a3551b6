"""Figures about the queue, counted by the database. They inform people and alarms, and decide nothing."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ledger.domain.events.event import EventKind
from ledger.domain.states import OPEN_STATES, RequestState
from ledger.domain.webhooks import DeliveryState
from ledger.store.database.tables import AuditEventRow, ModelRow, RequestRow, WebhookDeliveryRow
from ledger.store.repositories import convert

OPEN = sorted(state.value for state in OPEN_STATES)


class Operations:
    """Counts over all models, each in one query."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def count_by_state(self) -> dict[tuple[int, RequestState], int]:
        """Return how many requests each model has in each state; states without any are left out."""
        query = select(RequestRow.model_id, RequestRow.state, func.count()).group_by(
            RequestRow.model_id, RequestRow.state
        )
        return {(model, convert.request_state(state)): count for model, state, count in self._session.execute(query)}

    def oldest_open(self) -> dict[int, datetime]:
        """Return when the oldest open request of each model was received."""
        query = (
            select(RequestRow.model_id, func.min(RequestRow.received_at))
            .where(RequestRow.state.in_(OPEN))
            .group_by(RequestRow.model_id)
        )
        return dict(self._session.execute(query).all())

    def overdue(self, now: datetime) -> dict[int, int]:
        """Return how many open requests of each model are past their due dates."""
        query = (
            select(RequestRow.model_id, func.count())
            # Naming the models lets the database use the index that begins with them.
            .where(RequestRow.model_id.in_(select(ModelRow.id)), RequestRow.state.in_(OPEN), RequestRow.due_at < now)
            .group_by(RequestRow.model_id)
        )
        return dict(self._session.execute(query).all())

    def fulfilled_lately(self, most: int) -> dict[int, tuple[datetime, datetime]]:
        """Return when the requests that were carried out last were filed, and when they were done, by number."""
        query = (
            select(RequestRow.id, RequestRow.created_at, RequestRow.updated_at)
            .where(RequestRow.state == RequestState.FULFILLED.value, RequestRow.no_op.is_(False))
            .order_by(RequestRow.id.desc())
            .limit(most)
        )
        return {number: (filed, done) for number, filed, done in self._session.execute(query)}

    def undelivered(self) -> int:
        """Return how many messages to webhooks wait to be delivered."""
        waiting = WebhookDeliveryRow.state == DeliveryState.WAITING.value
        return self._session.scalar(select(func.count()).select_from(WebhookDeliveryRow).where(waiting)) or 0

    def last_claims(self, requests: Collection[int]) -> dict[int, str]:
        """Return the leaf of the entry in which a worker last claimed each of some requests."""
        last = (
            select(func.max(AuditEventRow.seq))
            .where(AuditEventRow.request_id.in_(requests), AuditEventRow.kind == EventKind.REQUEST_CLAIMED.value)
            .group_by(AuditEventRow.request_id)
        )
        query = select(AuditEventRow.request_id, AuditEventRow.leaf).where(AuditEventRow.seq.in_(last))
        return {number: leaf for number, leaf in self._session.execute(query) if number is not None}
