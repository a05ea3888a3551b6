"""What is live, what waits, what is late, and who is there to work on it."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.states import OPEN_STATES, RequestState
from ledger.domain.versions import Version
from ledger.domain.workers import Worker
from ledger.service.clock import read_clocks
from ledger.service.ledger import Ledger

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
    overdue: tuple[Request, ...]
    unattended: bool
    """Requests wait for a worker, and there is none: no lease on the model is held, none that stays would take them."""


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
        """Open requests past their due dates, over all models."""
        return tuple(request for status in self.models for request in status.overdue)


def status(ledger: Ledger, model_name: str | None = None) -> Status:
    """Return what is live, what is open, what is overdue, and who is there to work on it."""
    now = ledger.clock()
    with ledger.database.read() as tx:
        workers = tuple(worker for worker in tx.workers.all() if worker.idle <= PRESENT_SECONDS)
        attended, leased = {worker.model for worker in workers}, tx.requests.leased()
        models = [tx.models.get(model_name)] if model_name else tx.models.all()
        for model in models:
            tx.trusted.model(model.name)
        found = []
        for model in models:
            requests = tx.requests.all(model)
            waiting = tuple(r for r in requests if r.state in OPEN_STATES)
            found.append(
                ModelStatus(
                    model=model,
                    live=tx.versions.live(model),
                    states=dict(Counter(r.state for r in requests)),
                    open=waiting,
                    overdue=tuple(r for r in waiting if r.due_at < now),
                    unattended=any(r.state in WANTING for r in waiting)
                    and model.id not in leased
                    and not attended & {None, model.name},
                )
            )
        listed = {model.id for model in models}
        leases = tuple(lease for lease in held_leases(tx) if lease.model.id in listed)
        clock = read_clocks(tx, ledger.clock).doubts
    return Status(now, tuple(found), workers, leases, clock)
