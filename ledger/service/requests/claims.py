"""A worker's hold on a request: taken, kept alive while weights are computed, and given up again."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from ledger.domain.requests import Request
from ledger.domain.states import Action
from ledger.errors import LeaseLostError, LedgerError, RetryLaterError
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.retry import replayed
from ledger.store.repositories.requests import Claim
from ledger.store.unit_of_work import Transaction

LEASE_SECONDS = 60.0
BEATS = 3
"""Heartbeats in the time of one lease."""
MOST_CRASHES = 3
"""Attempts that ended without a word before a request is set aside."""


def claim_next(
    ledger: Ledger, owner: str, model_name: str | None = None, *, lease: float = LEASE_SECONDS
) -> Claim | None:
    """Claim the oldest request that may be carried out now; None if there is none.

    A request whose worker vanished for the third time is quarantined on the way.

    Args:
        ledger: The ledger.
        owner: Name of the worker.
        model_name: Only this model's requests.
        lease: Seconds after which the claim expires unless a heartbeat prolongs it.

    Raises:
        NotFoundError: There is no such model.
    """

    def transaction() -> Claim | None:
        now = ledger.clock()
        with ledger.database.write() as tx:
            model = tx.models.get(model_name) if model_name else None
            for request in tx.requests.quarantine_vanished(attempts=MOST_CRASHES, at=now, model=model):
                _record(tx, ledger, "request.quarantined", request, at=now, attempts=request.attempts)
            claim = tx.requests.claim(owner=owner, ttl=lease, at=now, attempts=MOST_CRASHES, model=model)
            if claim is not None:
                _record(tx, ledger, "request.claimed", claim.request, at=now, worker=owner, epoch=claim.epoch)
        return claim

    return replayed(transaction)


def give_back(ledger: Ledger, claim: Claim) -> None:
    """Put an interrupted request back in the queue, unless its lease was lost or the database is away.

    Then its lease runs out, and the next worker takes it over.
    """

    def transaction() -> None:
        now = ledger.clock()
        with ledger.database.write() as tx:
            attempts = claim.request.attempts - 1
            back = tx.requests.finish(claim, Action.INTERRUPT, at=now, attempts=attempts)
            _record(tx, ledger, "request.interrupted", back, at=now, epoch=claim.epoch)

    try:
        replayed(transaction)
    except RetryLaterError:
        return


def _record(tx: Transaction, ledger: Ledger, kind: str, request: Request, *, at: datetime, **data: object) -> None:
    name = tx.models.by_id(request.model_id).name
    facts = {**data, "state": request.state.value}
    tx.audit.append(kind, at=at, actor=ledger.actor, model=name, request_id=request.id, data=facts)


class Heart:
    """Prolongs a claim from a thread, and so a connection, of its own; and tells when it failed to."""

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        self._ledger = ledger
        self._claim = claim
        self._lost = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Prolong the lease every third of its time while the block runs."""
        with repeatedly(self._beat, self._claim.ttl / BEATS, name="lease heartbeat"):
            yield

    def _beat(self) -> None:
        try:
            with self._ledger.database.touch() as tx:
                tx.requests.extend(self._claim)
        except LeaseLostError:
            self._lost.set()
        except LedgerError:
            # Busy or away: the next beat tries again, and the commit decides.
            return

    def require(self) -> None:
        """Return if the lease was held at the last heartbeat.

        Raises:
            LeaseLostError: It was not.
        """
        if self._lost.is_set():
            raise LeaseLostError(
                f"the lease on request {self._claim.request.id} was lost while its weights were computed",
                "another worker may carry it out; nothing was written",
            )


class Attentive:
    """An observer that passes on, and stops the work at its next step when there is a reason to.

    Args:
        observer: Who is told of phases and steps.
        checks: Called at each; one that raises ends the work.
    """

    def __init__(self, observer: Progress, *checks: Callable[[], None]) -> None:
        self._observer = observer
        self._checks = checks

    def phase(self, name: str, total: int | None = None) -> None:
        """Begin a phase, unless there is a reason to stop."""
        self._check()
        self._observer.phase(name, total)

    def step(self) -> None:
        """Count a step, unless there is a reason to stop."""
        self._check()
        self._observer.step()

    def _check(self) -> None:
        for check in self._checks:
            check()


@contextmanager
def repeatedly(act: Callable[[], None], interval: float, *, name: str) -> Iterator[None]:
    """Call something every ``interval`` seconds from a thread of its own while the block runs."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(interval):
            act()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
