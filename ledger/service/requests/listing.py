"""Read requests, with the models they are about."""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.audit.events import AuditEvent
from ledger.domain.events.requests import RequestBlocked, RequestFulfilled, RequestRetried, RequestWithdrawn
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.states import RequestState
from ledger.garbage_collection import paused
from ledger.service.ledger import Ledger


@dataclass(frozen=True)
class RequestHistory:
    """One request, its model, and the entries of the audit log about it."""

    model: Model
    request: Request
    events: tuple[AuditEvent, ...]

    @property
    def solvers(self) -> tuple[str, ...] | None:
        """Solvers that a person named for the last attempt; None where nobody did."""
        found = None
        for event in self.events:
            if isinstance(event.payload, RequestRetried) or (
                isinstance(event.payload, RequestWithdrawn) and event.payload.solvers
            ):
                found = event.payload.solvers
        return found

    @property
    def waiver(self) -> str | None:
        """Why quality gates were waived when that was last decided, empty if nobody said; None where they were not."""
        found = None
        for event in self.events:
            if isinstance(event.payload, RequestRetried):
                found = (event.note or "") if event.payload.gates_waived else None
            elif isinstance(event.payload, RequestWithdrawn) and event.payload.gates_waived:
                found = event.note or ""
        return found

    @property
    def missed_gates(self) -> tuple[str, ...]:
        """Names of the gates that the last result missed, waived or not."""
        last = self._last_judged
        return () if last is None else last.missed

    @property
    def gates(self) -> str | None:
        """Digest of the gates that the last result had to pass; None where nothing says."""
        last = self._last_judged
        return None if last is None else last.gates

    @property
    def _last_judged(self) -> RequestFulfilled | RequestBlocked | RequestWithdrawn | None:
        judged = (RequestFulfilled, RequestBlocked, RequestWithdrawn)
        found = [event.payload for event in self.events if isinstance(event.payload, judged)]
        return found[-1] if found else None


def list_requests(
    ledger: Ledger,
    model_name: str | None = None,
    states: Sequence[RequestState] | None = None,
    *,
    after: int = 0,
    limit: int | None = None,
) -> list[tuple[Model, Request]]:
    """Return requests with their models in the order they were filed: above number ``after``, at most ``limit``.

    Raises:
        NotFoundError: There is no such model.
        AuditError: The entry of a live version, or one that concerns its model, is not as it was written.
        RowError: A model or its live version is not what the audit log says.
    """
    with ledger.database.read() as tx:
        model = tx.models.get(model_name) if model_name else None
        models = {m.id: m for m in ([model] if model else tx.models.all())}
        for one in models.values():
            tx.trusted.live(one.name)
        with paused():
            return [(models[r.model_id], r) for r in tx.requests.all(model, states, after=after, limit=limit)]


def count_requests(
    ledger: Ledger, model_name: str | None = None, states: Sequence[RequestState] | None = None, *, after: int = 0
) -> int:
    """Return how many requests :func:`list_requests` returns without a limit.

    Raises:
        NotFoundError: There is no such model.
    """
    with ledger.database.read() as tx:
        return tx.requests.count(tx.models.get(model_name) if model_name else None, states, after=after)


def show_request(ledger: Ledger, request_id: int) -> tuple[Model, Request]:
    """Return one request with its model.

    Raises:
        NotFoundError: There is none with this number.
    """
    with ledger.database.read() as tx:
        request = tx.requests.get(request_id)
        tx.trusted.request(request_id)
        return tx.models.by_id(request.model_id), request


def request_history(ledger: Ledger, request_id: int) -> RequestHistory:
    """Return one request and everything that happened to it.

    Raises:
        NotFoundError: There is none with this number.
        AuditError: The audit log does not verify, or a note of the request's entries was altered.
        RowError: The request is not what the audit log says.
    """
    with ledger.database.read() as tx:
        request = tx.requests.get(request_id)
        tx.trusted.request(request_id)
        events = tuple(tx.audit.events(request_id=request_id, check_notes=True))
        return RequestHistory(tx.models.by_id(request.model_id), request, events)
