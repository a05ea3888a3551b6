"""What is live, what waits, what is late, and who is there to work on it.

Requests are counted in the database. Only those that somebody wants to see are read, for there may be very many.
"""

from dataclasses import dataclass
from datetime import datetime

from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.states import OPEN_STATES, RequestState
from ledger.domain.versions import Version
from ledger.domain.workers import Worker
from ledger.service.clock import read_clocks
from ledger.service.ledger import Ledger
from ledger.store.unit_of_work import Transaction

from .daemon import PRESENT_SECONDS
from .leases import HeldLease, held_leases

WANTING = frozenset({RequestState.QUEUED, RequestState.RUNNING})
"""States that only a worker leads out of."""


@dataclass(frozen=True)
class ModelStatus:
    """One model's live version and requests."""

    model: Model
    live: Version
    states: dict[RequestState, int]
    open: tuple[Request, ...]
    """The open requests, the earliest due first: all, or as many as were wanted."""
    overdue: tuple[Request, ...]
    """Those of the open requests that are past their due dates, in the same order: all, or as many as were wanted."""
    overdue_count: int
    unattended: bool
    """Requests wait for a worker, and there is none: no lease on the model is held, none that stays would take them."""

    @property
    def open_count(self) -> int:
        """Number of open requests, also of those that are not listed."""
        return sum(count for state, count in self.states.items() if state in OPEN_STATES)


@dataclass(frozen=True)
class Status:
    """The whole ledger at one moment."""

    now: datetime
    models: tuple[ModelStatus, ...]
    workers: tuple[Worker, ...]
    """Those that stay and were heard of lately."""
    leases: tuple[HeldLease, ...] = ()
    """What workers hold now, on the models that are listed."""
    clock: tuple[str, ...] = ()
    """What speaks against the clock, a sentence each."""

    @property
    def overdue(self) -> tuple[Request, ...]:
        """Open requests past their due dates, over all models: those that are listed."""
        return tuple(request for status in self.models for request in status.overdue)

    @property
    def overdue_count(self) -> int:
        """Number of open requests past their due dates, over all models."""
        return sum(status.overdue_count for status in self.models)


def status(ledger: Ledger, model_name: str | None = None, *, most: int | None = None) -> Status:
    """Return what is live, what is open, what is overdue, and who is there to work on it.

    Args:
        ledger: The ledger.
        model_name: Only this model.
        most: How many open and how many overdue requests to list of each model; None lists all.

    Raises:
        NotFoundError: There is no such model.
        AuditError: The entry of a live version, or one that concerns its model, is not as it was written.
        RowError: A model or its live version is not what the audit log says.
    """
    now = ledger.clock()
    with ledger.database.read() as tx:
        workers = tuple(worker for worker in tx.workers.all() if worker.idle <= PRESENT_SECONDS)
        attended, leased = {worker.model for worker in workers}, tx.requests.leased()
        models = [tx.models.get(model_name)] if model_name else tx.models.all()
        found = tuple(
            _model_status(tx, model, now, most, attended=model.id in leased or bool(attended & {None, model.name}))
            for model in models
        )
        listed = {model.id for model in models}
        leases = tuple(lease for lease in held_leases(tx) if lease.model.id in listed)
        clock = read_clocks(tx, ledger.clock).doubts
    return Status(now, found, workers, leases, clock)


def _model_status(tx: Transaction, model: Model, now: datetime, most: int | None, *, attended: bool) -> ModelStatus:
    tx.trusted.live(model.name)
    states, late = tx.requests.count_by_state(model), tx.requests.count_waiting(model, due_before=now)
    waiting = tuple(tx.requests.waiting(model, limit=most))
    return ModelStatus(
        model=model,
        live=tx.versions.live(model),
        states=states,
        open=waiting,
        # Sorted by due date, so that the late ones come first.
        overdue=waiting[:late],
        overdue_count=late,
        unattended=not attended and any(state in WANTING for state in states),
    )
