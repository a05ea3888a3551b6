"""Requests, which are also the work queue: queries only.

A claim is a lease with an epoch, on the database's clock. Both are conditions of the statement that ends the
claim, in the transaction that records the result: a worker that was presumed dead cannot write any more.

Every transaction that claims or ends a claim appends to the audit log and so holds the lock on its head:
claims happen one after another, and there is nothing for ``SKIP LOCKED`` to skip. A heartbeat appends nothing
and waits for nobody; the conditions are written so that it may come between.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, Table, Text, bindparam, exists, func, insert, select, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session, aliased

from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.states import OPEN_STATES, Action, RequestState, next_state
from ledger.errors import LeaseLostError, NotFoundError
from ledger.store.database.engine import database_time
from ledger.store.database.tables import AuditEventRow, ModelRow, RequestRow

from . import convert
from .chunks import chunked

TABLE = cast("Table", RequestRow.__table__)
COLUMNS, ADD = TABLE.c, insert(TABLE)
# Built once: putting a statement together costs more than carrying it out.
ONE = select(*COLUMNS).where(COLUMNS.id == bindparam("wanted"))
FIELDS = [
    sql_cast(COLUMNS.classes, Text) if field.name == "classes" else COLUMNS[field.name] for field in fields(Request)
]
"""The columns that a request is made of, in the order of its fields. The same sets of classes come again and again."""
QUEUED, RUNNING = RequestState.QUEUED.value, RequestState.RUNNING.value
OPEN = sorted(state.value for state in OPEN_STATES)
PAGE = 1000
"""Requests that are read at a time."""
UNTOUCHED = {
    "idempotency_key": None,
    "version": None,
    "no_op": False,
    "gates_waived": False,
    "attempts": 0,
    "lease_owner": None,
    "lease_epoch": 0,
    "lease_expires": None,
    "outcome": "",
}
"""Columns of a request that nothing was said of and nobody has worked on."""


@dataclass(frozen=True)
class Claim:
    """A worker's right to carry out a request, for as long as its lease lasts."""

    request: Request
    owner: str
    epoch: int
    ttl: float
    """Seconds that the lease lasts after each heartbeat."""


@dataclass(frozen=True)
class Lease:
    """A worker's hold on a request that is running."""

    request: Request
    owner: str
    epoch: int
    remaining: float
    """Seconds until it runs out, on the database's clock; it did if this is not positive."""


class Requests:
    """Requests, which are also the work queue."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, values: dict[str, Any]) -> Request:
        """Insert a request; it gets the next number. The caller holds the write lock."""
        return self.add_all([values])[0]

    def add_all(self, many: Sequence[dict[str, Any]]) -> list[Request]:
        """Insert requests in order; they get the next numbers. The caller holds the write lock.

        The number of statements does not depend on the number of requests.
        """
        if not many:
            return []
        first = (self._session.scalar(select(func.max(RequestRow.id))) or 0) + 1
        rows = [{**UNTOUCHED, "id": number, **values} for number, values in enumerate(many, first)]
        self._session.connection().execute(ADD, rows)
        return [convert.new_request(row) for row in rows]

    def get(self, request_id: int) -> Request:
        """Return a request.

        Raises:
            NotFoundError: There is none with this number.
        """
        self._session.flush()
        row = self._session.connection().execute(ONE, {"wanted": request_id}).one_or_none()
        if row is None:
            raise _missing(request_id)
        return convert.request(row)

    def by_keys(self, keys: Sequence[str]) -> dict[str, tuple[Request, str]]:
        """Return the requests filed under idempotency keys, by key, each with the digest of its body."""
        found = {}
        for some in chunked(keys):
            query = select(*COLUMNS).where(COLUMNS.idempotency_key.in_(some))
            for row in self._session.execute(query):
                found[row.idempotency_key] = convert.request(row), row.body_digest
        return found

    def all(
        self,
        model: Model | None = None,
        states: Collection[RequestState] | None = None,
        *,
        after: int = 0,
        limit: int | None = None,
    ) -> list[Request]:
        """Return requests in the order they were filed: those with a number above ``after``, at most ``limit``."""
        query = select(*FIELDS).where(*_listed(model, states, after)).order_by(COLUMNS.id).limit(limit)
        return self._read(query)

    def count(self, model: Model | None, states: Collection[RequestState] | None, *, after: int) -> int:
        """Return how many requests :meth:`all` returns without a limit."""
        if model is None and states is None:
            # They are numbered without gaps.
            return max(0, (self._session.scalar(select(func.max(COLUMNS.id))) or 0) - after)
        query = select(func.count()).where(*_listed(model, states, after))
        if model is None:
            # Naming the models lets the database use the index that begins with them.
            query = query.where(COLUMNS.model_id.in_(select(ModelRow.id)))
        return self._session.scalar(query) or 0

    def waiting(self, model: Model, *, due_before: datetime | None = None, limit: int | None = None) -> list[Request]:
        """Return a model's open requests, the earliest due first: those due before a moment, at most ``limit``."""
        query = select(*FIELDS).where(*_open(model, due_before)).order_by(COLUMNS.due_at, COLUMNS.id).limit(limit)
        return self._read(query)

    def count_waiting(self, model: Model, *, due_before: datetime) -> int:
        """Return how many of a model's open requests were due before a moment."""
        return self._session.scalar(select(func.count()).where(*_open(model, due_before))) or 0

    def count_by_state(self, model: Model) -> dict[RequestState, int]:
        """Return how many requests of a model are in each state; states without any are left out."""
        query = select(COLUMNS.state, func.count()).where(COLUMNS.model_id == model.id).group_by(COLUMNS.state)
        return {convert.request_state(state): count for state, count in self._session.execute(query)}

    def awaited(self, model: Model) -> frozenset[int]:
        """Return the classes that a model's open requests ask for."""
        # Few different sets of classes are asked for, however many requests there are.
        query = select(sql_cast(COLUMNS.classes, Text)).where(*_open(model, None)).distinct()
        return frozenset[int]().union(*map(json.loads, self._session.scalars(query)))

    def awaited_until(self) -> dict[int, dict[int, datetime]]:
        """Return the classes that open requests ask for, by the model's id, each with the earliest day one is due."""
        asked, classes = COLUMNS.model_id, sql_cast(COLUMNS.classes, Text)
        query = select(asked, classes, func.min(COLUMNS.due_at)).where(COLUMNS.state.in_(OPEN)).group_by(asked, classes)
        found: dict[int, dict[int, datetime]] = {}
        for model_id, text, due in self._session.execute(query):
            awaited = found.setdefault(model_id, {})
            awaited |= {k: min(due, awaited.get(k, due)) for k in json.loads(text)}
        return found

    def touched(self, after: int) -> list[Request]:
        """Return the requests that an entry of the audit log after one is about, in the order they were filed."""
        numbers = select(AuditEventRow.request_id).where(AuditEventRow.seq > after)
        return self._read(select(*FIELDS).where(COLUMNS.id.in_(numbers)).order_by(COLUMNS.id))

    def act(self, request_id: int, action: Action, *, at: datetime, **changes: Any) -> Request:
        """Move a request along the transition table, and set other columns with it.

        Raises:
            TransitionError: The action is not allowed from the request's state.
        """
        row = self._row(request_id)
        row.state = next_state(convert.request_state(row.state), action, request_id=request_id).value
        row.updated_at = at
        for name, value in changes.items():
            setattr(row, name, value)
        self._session.flush()
        return convert.request(row)

    def claim(
        self,
        *,
        owner: str,
        ttl: float,
        at: datetime,
        attempts: int | None = None,
        model: Model | None = None,
        avoid: Collection[int] = (),
    ) -> Claim | None:
        """Take the oldest request that may be carried out now, in one statement; None if there is none.

        A model offers one request at most: none while one of its requests is carried out under a live lease,
        else the one whose lease ran out, else the first in its queue. The lease epoch rises, so that any
        earlier claim on the request is void.

        Args:
            owner: Name of the worker.
            ttl: Seconds until the lease expires unless it is prolonged.
            at: When, for the record; the lease runs on the database's clock.
            attempts: How many attempts a request is permitted: one that vanished in its last is not offered,
                even if its lease ran out only just now; None permits any number.
            model: Only this model's requests.
            avoid: Ids of models whose requests are left alone.
        """
        waiting, queued, running = aliased(RequestRow), aliased(RequestRow), aliased(RequestRow)
        # Model by model, so that a queue is not gone through for the sake of its first request. Nobody overtakes a
        # running request, be its lease live or not.
        first = (
            select(queued.id)
            .where(queued.model_id == ModelRow.id, queued.state == QUEUED)
            .order_by(queued.id)
            .limit(1)
            .correlate(ModelRow)
            .scalar_subquery()
        )
        free = ~exists().where(running.model_id == ModelRow.id, running.state == RUNNING).correlate(ModelRow)
        heads = select(first).select_from(ModelRow).where(free)
        vanished = _vanished(waiting) & waiting.model_id.in_(select(ModelRow.id))
        if attempts is not None:
            vanished &= waiting.attempts < attempts
        offered = select(waiting.id).where(vanished | waiting.id.in_(heads))
        if model is not None:
            offered = offered.where(waiting.model_id == model.id)
        if avoid:
            offered = offered.where(waiting.model_id.not_in(list(avoid)))
        row = self._update(
            # What the inner query saw must still hold where it is written: PostgreSQL may have waited in between.
            (RequestRow.id == offered.order_by(waiting.id).limit(1).scalar_subquery())
            & ((RequestRow.state == QUEUED) | _vanished(RequestRow)),
            state=next_state(RequestState.QUEUED, Action.CLAIM, request_id=0).value,
            lease_owner=owner,
            lease_epoch=RequestRow.lease_epoch + 1,
            lease_expires=database_time() + ttl,
            attempts=RequestRow.attempts + 1,
            updated_at=at,
        )
        return None if row is None else Claim(convert.request(row), owner, row.lease_epoch, ttl)

    def quarantine_vanished(self, *, attempts: int, at: datetime, model: Model | None = None) -> list[Request]:
        """Set aside the requests whose lease ran out in their last permitted attempt; return them.

        Args:
            attempts: How many attempts a request is permitted.
            at: When, for the record.
            model: Only this model's requests.
        """
        gone = _vanished(RequestRow) & (RequestRow.attempts >= attempts)
        query = select(RequestRow).where(gone).order_by(RequestRow.id)
        if model is not None:
            query = query.where(RequestRow.model_id == model.id)
        found = []
        for row in self._session.scalars(query).all():
            outcome = f"its worker vanished {row.attempts} times"
            changes = {"outcome": outcome, "lease_owner": None, "lease_expires": None}
            found.append(self.act(row.id, Action.QUARANTINE, at=at, **changes))
        return found

    def extend(self, claim: Claim) -> None:
        """Prolong a lease that is still held by its own time.

        Raises:
            LeaseLostError: It is held no longer.
        """
        if self._update(_held(claim), lease_expires=database_time() + claim.ttl) is None:
            raise _lost(claim)

    def finish(self, claim: Claim, action: Action, *, at: datetime, **changes: Any) -> Request:
        """End a claim: the statement that records the result itself demands state, owner, epoch and expiry.

        Raises:
            LeaseLostError: The lease is held no longer; nothing may be written.
        """
        state = next_state(RequestState.RUNNING, action, request_id=claim.request.id)
        values = {"state": state.value, "updated_at": at, "lease_owner": None, "lease_expires": None, **changes}
        row = self._update(_held(claim), **values)
        if row is None:
            raise _lost(claim)
        return convert.request(row)

    def break_lease(self, request_id: int, *, at: datetime, outcome: str) -> Request:
        """Take a running request from whoever holds it, back to the queue; the epoch rises.

        Raises:
            TransitionError: The request is not running.
        """
        row = self._row(request_id)
        changes = {"lease_owner": None, "lease_expires": None, "lease_epoch": row.lease_epoch + 1, "outcome": outcome}
        return self.act(request_id, Action.INTERRUPT, at=at, **changes)

    def leases(self, model: Model | None = None) -> list[Lease]:
        """Return the leases on running requests, those that ran out included, in the order of the requests."""
        # As for counting.
        models = select(ModelRow.id) if model is None else [model.id]
        query = select(RequestRow, RequestRow.lease_expires - database_time()).where(
            RequestRow.model_id.in_(models), RequestRow.state == RUNNING
        )
        return [
            Lease(convert.request(row), row.lease_owner or "", row.lease_epoch, remaining or 0.0)
            for row, remaining in self._session.execute(query.order_by(RequestRow.id))
        ]

    def leased(self) -> set[int]:
        """Return the ids of the models that a worker holds a live lease on."""
        query = select(RequestRow.model_id).where(
            RequestRow.model_id.in_(select(ModelRow.id)),
            RequestRow.state == RUNNING,
            RequestRow.lease_expires > database_time(),
        )
        return set(self._session.scalars(query))

    def _update(self, where: ColumnElement[bool], **values: Any) -> RequestRow | None:
        statement = update(RequestRow).where(where).values(**values).returning(RequestRow)
        # What the database answers replaces what the session remembers.
        options = {"synchronize_session": False, "populate_existing": True}
        return self._session.scalars(statement, execution_options=options).one_or_none()

    def _read(self, query: Select[*tuple[Any, ...]]) -> list[Request]:
        """Return the requests that a query for :data:`FIELDS` finds; there may be very many."""
        pages = self._session.execute(query).partitions(PAGE)
        return convert.list_of_requests(row for page in pages for row in page)

    def _row(self, request_id: int) -> RequestRow:
        row = self._session.get(RequestRow, request_id, populate_existing=True)
        if row is None:
            raise _missing(request_id)
        return row


def _missing(request_id: int) -> NotFoundError:
    return NotFoundError(f"there is no request {request_id}", "see: unledger request list")


def _listed(model: Model | None, states: Collection[RequestState] | None, after: int) -> Iterator[ColumnElement[bool]]:
    yield COLUMNS.id > after
    if model is not None:
        yield COLUMNS.model_id == model.id
    if states is not None:
        yield COLUMNS.state.in_([state.value for state in states])


def _open(model: Model, due_before: datetime | None) -> Iterator[ColumnElement[bool]]:
    yield COLUMNS.model_id == model.id
    yield COLUMNS.state.in_(OPEN)
    if due_before is not None:
        yield COLUMNS.due_at < due_before


def _vanished(row: type[RequestRow]) -> ColumnElement[bool]:
    return (row.state == RUNNING) & (row.lease_expires <= database_time())


def _held(claim: Claim) -> ColumnElement[bool]:
    return (
        (RequestRow.id == claim.request.id)
        & (RequestRow.state == RUNNING)
        & (RequestRow.lease_owner == claim.owner)
        & (RequestRow.lease_epoch == claim.epoch)
        & (RequestRow.lease_expires > database_time())
    )


def _lost(claim: Claim) -> LeaseLostError:
    return LeaseLostError(
        f"the lease on request {claim.request.id} was lost", "another worker may carry it out; nothing was written"
    )
