"""The daemon: a worker that waits for requests, continues after failures, and ends when it is told to."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from ledger import installation
from ledger.domain.events.event import EventKind
from ledger.errors import (
    ConflictError,
    IntegrityError,
    LedgerError,
    NotFoundError,
    NotInstalledError,
    RetryLaterError,
    TransientError,
    UsageError,
)
from ledger.service.audit.checkpoints import RETRY_SECONDS, is_owed, keep_checkpoint
from ledger.service.computation.compute import OpenModel
from ledger.service.evidence.gating import open_gated
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.retry import pauses, retry_when_busy
from ledger.store.database.schema import check_schema
from ledger.store.repositories.jobs import JOB_WAITS
from ledger.store.repositories.leases import new_holder

from .claim_end import Outcome
from .claims import LEASE_SECONDS
from .heartbeat import repeatedly
from .job_worker import JobDocuments, carry_out_jobs
from .worker import work

logger = logging.getLogger("unledger.worker")
# Whoever embeds the daemon decides where its log goes.
logger.addHandler(logging.NullHandler())

FACTS = "unledger"
"""Attribute of a log record that holds its facts one by one, for whoever writes records as JSON."""
POLL_SECONDS = 5.0
LONGEST_PAUSE = 60.0
"""Seconds between attempts while something is wrong."""
PRESENT_SECONDS = 60.0
"""Seconds after which a daemon that was not heard of is taken for dead; it reports three times as often."""
CHECKPOINT_SECONDS = 86_400.0
"""Between the checkpoints of a daemon that has nothing to do; it signs one after every request that it fulfils."""
FATAL = (UsageError, NotFoundError, ConflictError, IntegrityError, NotInstalledError)
"""Waiting does not help: there is no such model, another release upgraded the database, it is damaged, or this
environment cannot compute."""


class Stop(Protocol):
    """Knows whether the worker shall leave."""

    @property
    def wanted(self) -> bool:
        """Whether it shall."""
        ...

    def wait(self, seconds: float, *, wakeful: bool = False) -> None:
        """Return after some seconds, or as soon as the worker shall leave; if ``wakeful``, as soon as it is woken."""
        ...

    def wake(self) -> None:
        """Let a wakeful wait return, now or the next time; any thread may do so."""
        ...


WAKING = frozenset(
    {
        EventKind.REQUEST_RECEIVED,
        EventKind.REQUEST_APPROVED,
        EventKind.REQUEST_RELEASED,
        EventKind.REQUEST_RETRIED,
        EventKind.REQUEST_REOPENED,
        EventKind.REQUEST_INTERRUPTED,
        EventKind.REQUEST_CANCELLED,
        EventKind.REQUEST_DENIED,
        EventKind.REQUEST_HELD,
        EventKind.REQUEST_QUARANTINED,
        JOB_WAITS,
    }
)
"""After these, a worker may find something to do that it did not find before. After the end of a request it looks by
itself, and others need not."""


@dataclass(frozen=True)
class Trouble:
    """Something went wrong that is not the outcome of a request; the worker continues after a pause."""

    error: Exception
    pause: float
    """Seconds until the next attempt."""


def run_daemon(
    ledger: Ledger,
    progress: Progress,
    stop: Stop,
    *,
    model_name: str | None = None,
    open_model: OpenModel = open_gated,
    poll: float = POLL_SECONDS,
    lease: float = LEASE_SECONDS,
    documents: JobDocuments | None = None,
) -> Iterator[Outcome | Trouble]:
    """Carry out requests as they come, until told to stop: a request in progress then goes back to the queue.

    Yields what became of each request, and troubles: a lease that was lost, a database that is busy, full or away, a
    full disk, no memory, an object store out of reach (the request is back in the queue), a plugin that broke (its
    request has failed). All of that is logged as ``unledger.worker`` too. After a trouble with one model's request, the
    requests of other models come first.

    Args:
        ledger: The ledger.
        progress: Follows the work.
        stop: Asked at every step.
        model_name: Only this model's requests.
        open_model: Lays a model out for computation; kept as long as there are requests in a row.
        poll: Longest wait in seconds before an idle worker looks again; it looks sooner after work, and at once where
            the database tells of news.
        lease: Seconds after which others may take over a request, unless a heartbeat comes first.
        documents: Write what came of jobs; those that people wait for are carried out before the next request. None
            leaves them to other workers.

    Raises:
        LedgerError: Nothing that waiting could mend: no such model, another release's schema, a damaged database.
        NotInstalledError: Nothing can be computed here; no request was claimed.
        KeyboardInterrupt: After the request in progress went back to the queue.
    """
    installation.require("engine", "carrying out requests")
    owner = new_holder()
    idle, troubled = _idle(poll), _troubled(poll)
    avoid: set[int] = set()
    daily = Daily(ledger)
    answer_waiting = partial(
        _answer_waiting,
        ledger,
        progress,
        documents,
        model=model_name,
        owner=owner,
        lease=lease,
        stop=stop,
        open_model=open_model,
    )
    logger.info("worker %s waits for requests for %s", owner, model_name or "every model")
    with _present(ledger, owner, model_name), ledger.hearing(partial(_wake, stop)):
        while not stop.wanted:
            try:
                # Somebody may have upgraded the database meanwhile: an older worker must not write to it.
                check_schema(ledger.database.engine)
                daily.checkpoint()
                answer_waiting()
                for outcome in work(
                    ledger,
                    progress,
                    model_name=model_name,
                    open_model=open_model,
                    owner=owner,
                    lease=lease,
                    check=partial(_go_on, stop),
                    avoid=avoid,
                ):
                    idle, troubled = _idle(poll), _troubled(poll)
                    _log_outcome(outcome)
                    yield outcome
                    if stop.wanted:
                        return
                    answer_waiting()
            except FATAL:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises must not end the others' work
                if stop.wanted:
                    return
                pause, resting = next(troubled), True
                _log_trouble(error, pause)
                yield Trouble(error, pause)
            else:
                # Where nothing is left but the models that trouble was met with, their turn comes again.
                pause, resting = 0.0 if avoid else next(idle), False
                avoid.clear()
            if not pause:
                continue
            # The pause after a trouble is meant: the news that a request is back in the queue must not end it.
            stop.wait(pause, wakeful=not resting)


def _wake(stop: Stop, kinds: frozenset[str]) -> None:
    if not kinds or kinds & WAKING:
        stop.wake()


def _answer_waiting(
    ledger: Ledger,
    progress: Progress,
    documents: JobDocuments | None,
    *,
    model: str | None,
    owner: str,
    lease: float,
    stop: Stop,
    open_model: OpenModel,
) -> None:
    """Carry out the jobs that people wait for."""
    if documents is None:
        return
    for job in carry_out_jobs(
        ledger,
        progress,
        documents,
        model_name=model,
        owner=owner,
        lease=lease,
        check=partial(_go_on, stop),
        open_model=open_model,
    ):
        logger.info("%s %s is %s", job.kind.value, job.id, job.state.value)


def _go_on(stop: Stop) -> None:
    if stop.wanted:
        raise RetryLaterError("the worker was told to stop", "the request is back in the queue")


def _log_outcome(outcome: Outcome) -> None:
    # By number: logs travel further than the ledger, and a label may be a person's name. So may a message of an error.
    request, error = outcome.request, outcome.error
    facts: dict[str, object] = {"request": request.id, "model": outcome.model.id, "state": request.state.value}
    about = f"request {request.id} of model {outcome.model.id} is {request.state.value}"
    if error is None:
        facts["version"] = request.version
        logger.info("%s by version %s", about, request.version, extra={FACTS: facts})
    else:
        facts["error"] = type(error).__name__
        told = "%s (%s); see: unledger request show %d"
        logger.warning(told, about, facts["error"], request.id, extra={FACTS: facts})


def _log_trouble(error: Exception, pause: float) -> None:
    if isinstance(error, LedgerError):
        # What a request met with may name files, and folders of images are called like classes.
        told = type(error).__name__ if isinstance(error, TransientError) else error.message
        logger.warning("%s; trying again in %.1f s", told, pause)
    else:
        # Not an error of ours: a plugin's, most likely, and its author needs the traceback.
        logger.error("that failed its request; going on in %.1f s", pause, exc_info=error)


class Daily:
    """Signs a checkpoint at once, and again each time a day has passed; tries ``checkpoint_to`` again meanwhile.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._next = 0.0

    def checkpoint(self) -> None:
        """Sign a checkpoint if it is time, or if the last one is still to be written elsewhere."""
        due = time.monotonic() >= self._next
        if due or is_owed(self._ledger):
            kept = keep_checkpoint(self._ledger)
            if due:
                self._next = time.monotonic() + (CHECKPOINT_SECONDS if kept else RETRY_SECONDS)


def _idle(poll: float) -> Iterator[float]:
    return pauses(poll / 8, poll)


def _troubled(poll: float) -> Iterator[float]:
    return pauses(min(poll, 1.0), LONGEST_PAUSE)


@contextmanager
def _present(ledger: Ledger, owner: str, model_name: str | None) -> Iterator[None]:
    """List this worker among those that are there while the block runs."""
    started = ledger.clock()

    def seen() -> None:
        # Presence only informs people: without it, status warns, and nothing else changes.
        with suppress(LedgerError), ledger.database.touch() as tx:
            tx.workers.seen(owner, model_name, started_at=started)

    def gone() -> None:
        with ledger.database.touch() as tx:
            tx.workers.gone(owner)

    seen()
    try:
        with repeatedly(seen, PRESENT_SECONDS / 3, name="presence"):
            yield
    finally:
        with suppress(LedgerError):
            retry_when_busy(gone)
