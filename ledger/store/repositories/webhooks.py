"""Webhooks and the messages to them: queries only.

The audit log is the outbox: an event and what tells of it are written by one transaction because they are one row. Each
webhook remembers up to which entry messages were prepared, and the entries behind that are the messages that wait.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.orm import Session, aliased

from ledger.domain.webhooks import Delivery, DeliveryState, Webhook
from ledger.errors import NotFoundError, RowError
from ledger.store.database.engine import database_time
from ledger.store.database.tables import WebhookDeliveryRow, WebhookRow

ROW = WebhookDeliveryRow


class Webhooks:
    """Addresses that are told of events."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def next_id(self) -> int:
        """Return the number of the next webhook. The caller holds the write lock."""
        return (self._session.scalar(select(func.max(WebhookRow.id))) or 0) + 1

    def add(self, webhook: Webhook, *, salt: str, told: int) -> None:
        """Insert a webhook.

        Args:
            webhook: The webhook.
            salt: What its secret is derived from.
            told: Number of the last entry that it is not told of.
        """
        self._session.add(
            WebhookRow(
                id=webhook.id,
                url=webhook.url,
                kinds=list(webhook.kinds),
                salt=salt,
                created_at=webhook.created_at,
                told=told,
            )
        )
        self._session.flush()

    def get(self, number: int) -> Webhook:
        """Return a webhook.

        Raises:
            NotFoundError: There is none with this number.
        """
        return _webhook(self._row(number))

    def salt(self, number: int) -> str:
        """Return what a webhook's secret is derived from.

        Raises:
            NotFoundError: There is none with this number.
        """
        return self._row(number).salt

    def all(self) -> list[Webhook]:
        """Return every webhook, the oldest first."""
        return [_webhook(row) for row in self._session.scalars(select(WebhookRow).order_by(WebhookRow.id))]

    def behind(self, size: int) -> list[tuple[Webhook, int]]:
        """Return the webhooks that messages are to be prepared for, each with the last entry that they were for.

        Args:
            size: How many entries the audit log has.
        """
        query = select(WebhookRow).where(WebhookRow.told < size).order_by(WebhookRow.id)
        return [(_webhook(row), row.told) for row in self._session.scalars(query)]

    def remove(self, number: int) -> None:
        """Remove a webhook with the messages to it."""
        for statement in (
            delete(ROW).where(ROW.webhook_id == number),
            delete(WebhookRow).where(WebhookRow.id == number),
        ):
            self._session.execute(statement.execution_options(synchronize_session=False))

    def prepare(self, webhook: Webhook, messages: Sequence[dict[str, Any]], *, told: int, upto: int) -> bool:
        """Let messages to a webhook wait; return False where somebody else prepared them meanwhile.

        Args:
            webhook: The webhook.
            messages: Message, kind, payload and moment of each.
            told: Number of the last entry that messages were prepared for.
            upto: The same from now on.
        """
        moved = update(WebhookRow).where(WebhookRow.id == webhook.id, WebhookRow.told == told).values(told=upto)
        moved = moved.returning(WebhookRow.id).execution_options(synchronize_session=False)
        if self._session.scalar(moved) is None:
            return False
        for message in messages:
            self.add_delivery(webhook.id, message, waits=True)
        return True

    def add_delivery(self, number: int, message: dict[str, Any], *, waits: bool) -> Delivery:
        """Insert a message, and return it.

        Args:
            number: Of the webhook.
            message: Message, kind, payload and moment.
            waits: Whether it waits to be sent; else whoever calls sends it.
        """
        values = {
            **message,
            "webhook_id": number,
            "state": DeliveryState.WAITING.value,
            "attempts": 0 if waits else 1,
            "next_at": database_time() if waits else None,
            "detail": "",
        }
        return _delivery(self._session.scalars(insert(ROW).values(values).returning(ROW)).one())

    def due(self) -> list[int]:
        """Return the numbers of the webhooks that a message waits for whose time has come, the longest wait first."""
        first = func.min(ROW.next_at)
        query = select(ROW.webhook_id).where(ROW.next_at <= database_time()).group_by(ROW.webhook_id).order_by(first)
        return list(self._session.scalars(query))

    def claim(self, webhook: int, *, ttl: float, holding: int) -> Delivery | None:
        """Take the next message to a webhook; None if none is to be sent now.

        One that waits, or is being sent, holds up those behind it until it was tried ``holding`` times.

        Args:
            webhook: The webhook.
            ttl: Seconds after which it is tried again if nobody says what became of this attempt.
            holding: How many attempts those behind wait for.
        """
        earlier = aliased(ROW)
        due = (ROW.webhook_id == webhook) & (ROW.next_at <= database_time())
        held_up = exists().where(
            earlier.webhook_id == webhook, earlier.id < ROW.id, earlier.next_at.is_not(None), earlier.attempts < holding
        )
        first = select(ROW.id).where(due, ~held_up).order_by(ROW.id).limit(1).scalar_subquery()
        # What the inner query saw must still hold where it is written.
        statement = update(ROW).where((ROW.id == first) & due)
        statement = statement.values(next_at=database_time() + ttl, attempts=ROW.attempts + 1)
        options = {"synchronize_session": False, "populate_existing": True}
        row = self._session.scalars(statement.returning(ROW), execution_options=options).one_or_none()
        return None if row is None else _delivery(row)

    def ended(self, number: int, state: DeliveryState, *, at: datetime, status: int | None, detail: str) -> None:
        """Note that a message is delivered, or given up."""
        self._change(number, state=state.value, next_at=None, ended_at=at, status=status, detail=detail)

    def failed(self, number: int, *, pause: float, status: int | None, detail: str) -> None:
        """Note that an attempt failed, and in how many seconds the next one follows."""
        self._change(number, next_at=database_time() + pause, status=status, detail=detail)

    def delivery(self, number: int) -> Delivery | None:
        """Return a message; None if it is gone."""
        row = self._session.get(ROW, number, populate_existing=True)
        return None if row is None else _delivery(row)

    def deliveries(self, number: int, *, limit: int) -> list[Delivery]:
        """Return the newest messages to a webhook, the newest first."""
        query = select(ROW).where(ROW.webhook_id == number).order_by(ROW.id.desc()).limit(limit)
        return [_delivery(row) for row in self._session.scalars(query)]

    def forget(self, *, ended_before: datetime) -> None:
        """Remove messages that ended long ago."""
        old = delete(ROW).where(ROW.ended_at < ended_before)
        self._session.execute(old.execution_options(synchronize_session=False))

    def _change(self, number: int, **values: Any) -> None:
        change = update(ROW).where(ROW.id == number).values(**values)
        self._session.execute(change.execution_options(synchronize_session=False))

    def _row(self, number: int) -> WebhookRow:
        row = self._session.get(WebhookRow, number, populate_existing=True)
        if row is None:
            raise NotFoundError(f"there is no webhook {number}", "see: unledger webhook list")
        return row


def _webhook(row: WebhookRow) -> Webhook:
    if not isinstance(row.kinds, list) or not all(isinstance(kind, str) for kind in row.kinds):
        raise RowError(f"webhook {row.id} in the database cannot be read", "see all differences with: unledger fsck")
    return Webhook(row.id, row.url, tuple(row.kinds), row.created_at)


def _delivery(row: WebhookDeliveryRow) -> Delivery:
    try:
        state = DeliveryState(row.state)
    except ValueError as error:
        raise RowError(f"a message to a webhook cannot be read: {error}", "nothing rests on it") from error
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        message=row.message,
        kind=row.kind,
        payload=row.payload,
        state=state,
        attempts=row.attempts,
        status=row.status,
        detail=row.detail,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )
