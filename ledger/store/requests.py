"""Requests, which are also the work queue: queries only.

A claim is a lease with an epoch. Ending a claim checks both in the transaction that records the
result, on the database's clock, so that a worker which was presumed dead cannot write any more.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ledger.domain.records import Model, Request
from ledger.domain.states import Action, RequestState, next_state
from ledger.errors import NotFoundError, RetryLaterError

from . import convert
from .engine import database_time
from .tables import RequestRow


@dataclass(frozen=True)
class Claim:
    """A worker's right to carry out a request, for as long as its lease lasts."""

    request: Request
    owner: str
    epoch: int


class Requests:
    """Requests, which are also the work queue."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, values: dict[str, Any]) -> Request:
        """Insert a request; it gets the next number. The caller holds the write lock."""
        number = (self._session.scalar(select(func.max(RequestRow.id))) or 0) + 1
        row = RequestRow(id=number, **values)
        self._session.add(row)
        self._session.flush()
        return convert.request(row)

    def get(self, request_id: int) -> Request:
        """Return a request.

        Raises:
            NotFoundError: There is none with this number.
        """
        return convert.request(self._row(request_id))

    def by_key(self, key: str) -> tuple[Request, str] | None:
        """Return the request filed under an idempotency key, with the digest of its body."""
        row = self._session.scalar(select(RequestRow).where(RequestRow.idempotency_key == key))
        return None if row is None else (convert.request(row), row.body_digest)

    def all(
        self,
        model: Model | None = None,
        states: Collection[RequestState] | None = None,
        *,
        after: int = 0,
        limit: int | None = None,
    ) -> list[Request]:
        """Return requests in the order they were filed: those with a number above ``after``, at most ``limit``."""
        query = select(RequestRow).where(RequestRow.id > after).order_by(RequestRow.id).limit(limit)
        if model is not None:
            query = query.where(RequestRow.model_id == model.id)
        if states is not None:
            query = query.where(RequestRow.state.in_([state.value for state in states]))
        return [convert.request(row) for row in self._session.scalars(query)]

    def act(self, request_id: int, action: Action, *, at: datetime, **changes: Any) -> Request:
        """Move a request along the transition table, and set other columns with it.

        Raises:
            TransitionError: The action is not allowed from the request's state.
        """
        row = self._row(request_id)
        row.state = next_state(RequestState(row.state), action, request_id=request_id).value
        row.updated_at = at
        for name, value in changes.items():
            setattr(row, name, value)
        self._session.flush()
        return convert.request(row)

    def claimable(self, model: Model | None) -> list[Request]:
        """Return what a worker may claim now, oldest first: one request at most for each model.

        A model whose request is being carried out under a live lease offers none; a request whose
        lease has expired is offered before the queued ones.
        """
        now = select(database_time()).scalar_subquery()
        leased = (
            select(RequestRow.model_id)
            .where(RequestRow.state == RequestState.RUNNING.value, RequestRow.lease_expires > now)
            .scalar_subquery()
        )
        query = (
            select(RequestRow)
            .where(
                RequestRow.state.in_([RequestState.QUEUED.value, RequestState.RUNNING.value]),
                RequestRow.model_id.not_in(leased),
            )
            .order_by(RequestRow.state.desc(), RequestRow.id)
        )
        if model is not None:
            query = query.where(RequestRow.model_id == model.id)
        first: dict[int, Request] = {}
        for row in self._session.scalars(query):
            first.setdefault(row.model_id, convert.request(row))
        return sorted(first.values(), key=lambda request: request.id)

    def claim(self, request: Request, *, owner: str, ttl: float, at: datetime) -> Claim:
        """Take a claimable request: its lease epoch rises, so that any earlier claim is void.

        Raises:
            RetryLaterError: Somebody else holds it.
        """
        # The row decides, not what the caller saw: another worker may have been here since.
        row = self._row(request.id)
        if row.state == RequestState.RUNNING.value and (row.lease_expires or 0.0) > self._now():
            raise RetryLaterError(f"request {row.id} is carried out by another worker", "nothing was written")
        epoch = row.lease_epoch + 1
        claimed = self.act(
            request.id,
            Action.CLAIM,
            at=at,
            lease_owner=owner,
            lease_epoch=epoch,
            lease_expires=self._now() + ttl,
            attempts=row.attempts + 1,
        )
        return Claim(claimed, owner, epoch)

    def extend(self, claim: Claim, *, ttl: float) -> None:
        """Prolong a lease that is still held.

        Raises:
            RetryLaterError: The lease was lost.
        """
        self._held(claim).lease_expires = self._now() + ttl
        self._session.flush()

    def finish(self, claim: Claim, action: Action, *, at: datetime, **changes: Any) -> Request:
        """End a claim: checks state, owner, epoch and expiry in the transaction that records the result.

        Raises:
            RetryLaterError: The lease was lost; nothing may be written.
        """
        self._held(claim)
        return self.act(claim.request.id, action, at=at, lease_owner=None, lease_expires=None, **changes)

    def _held(self, claim: Claim) -> RequestRow:
        row = self._row(claim.request.id)
        held = (
            row.state == RequestState.RUNNING.value
            and row.lease_owner == claim.owner
            and row.lease_epoch == claim.epoch
            and row.lease_expires is not None
            and row.lease_expires > self._now()
        )
        if not held:
            raise RetryLaterError(
                f"the lease on request {row.id} was lost", "another worker carries it out; nothing was written"
            )
        return row

    def _now(self) -> float:
        return float(self._session.scalar(select(database_time())) or 0.0)

    def _row(self, request_id: int) -> RequestRow:
        row = self._session.get(RequestRow, request_id, populate_existing=True)
        if row is None:
            raise NotFoundError(f"there is no request {request_id}", "see: unledger request list")
        return row
