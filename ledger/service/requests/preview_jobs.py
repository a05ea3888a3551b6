"""Previews as jobs: somebody who asks from afar files one, a worker computes it, and the answer waits to be fetched.

A job is a row, not an event: a preview changes nothing. Each row is sealed, what was asked and what was answered, so
that nobody who can write the database alone makes people decide upon figures that no worker computed.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ledger.audit.row_digests import plain
from ledger.domain.preview_jobs import PreviewJob, PreviewJobState
from ledger.errors import LeaseLostError, LedgerError, RetryLaterError, RowError, UsageError
from ledger.service.access.seals import is_sealed, seal
from ledger.service.ledger import Ledger
from ledger.service.progress import InterruptibleProgress, Progress
from ledger.service.retry import retry_when_busy
from ledger.store.repositories.leases import new_holder

from .claims import LEASE_SECONDS
from .filing import check_retained
from .heartbeat import HEARTBEATS_PER_LEASE, repeatedly
from .transient import as_transient

if TYPE_CHECKING:
    from .preview import Preview

PURPOSE = "preview"
ID_BYTES = 16
MOST_WAITING = 100
"""Jobs that wait at a time: more would be answered when nobody waits for them any more."""
MOST_ATTEMPTS = 3
ANSWERS_ARE_KEPT = timedelta(days=7)

Compute = Callable[[Ledger, str, tuple[str, ...], Progress], "Preview"]
"""Computes a preview of a model and some classes."""
Written = Callable[["Preview"], Mapping[str, Any]]
"""Returns the document of a preview."""


def file_preview(ledger: Ledger, model_name: str, classes: frozenset[int]) -> PreviewJob:
    """Ask for a preview, which a worker will compute.

    Args:
        ledger: The ledger; its actor is who asks.
        model_name: The model.
        classes: Indices of the classes to forget.

    Raises:
        NotFoundError: There is no such model.
        UsageError: No class is named, or one that the model does not have.
        TooFewRetainedError: Too few classes would be left.
        RetryLaterError: So many wait that no answer would come in time.
    """

    def transaction() -> PreviewJob:
        now = ledger.clock()
        with ledger.database.touch() as tx:
            model = tx.models.get(model_name)
            tx.trusted.live(model.name)
            if not classes or not classes <= set(range(len(model.labels))):
                raise UsageError("a preview is of at least one class, and of classes of the model", "name one or more")
            check_retained(model, tx.versions.live(model).forgotten | classes)
            tx.preview_jobs.forget(finished_before=now - ANSWERS_ARE_KEPT)
            waiting = tx.preview_jobs.count_waiting()
            if waiting >= MOST_WAITING:
                raise RetryLaterError(f"{waiting} previews wait already", "is a worker there? see: unledger status")
            job_id = secrets.token_hex(ID_BYTES)
            job = PreviewJob(job_id, model.id, classes, ledger.actor, PreviewJobState.WAITING, now)
            tx.preview_jobs.add(job, seal(ledger.config, PURPOSE, _facts(job)))
        return job

    return retry_when_busy(transaction)


def show_preview_job(ledger: Ledger, job_id: str) -> PreviewJob:
    """Return a job, with its answer once that is there.

    Raises:
        NotFoundError: There is none of this id, or its answer was kept long enough.
        RowError: Its row is not as the ledger wrote it.
    """
    with ledger.database.read() as tx:
        job, sealed = tx.preview_jobs.get(job_id)
    _require_sealed(ledger, job, sealed)
    return job


def carry_out_previews(
    ledger: Ledger,
    progress: Progress,
    written: Written,
    *,
    model_name: str | None = None,
    owner: str | None = None,
    lease: float = LEASE_SECONDS,
    check: Callable[[], None] = lambda: None,
    compute: Compute | None = None,
) -> Iterator[PreviewJob]:
    """Compute the previews that wait, one after another, and yield each with its answer.

    One that fails is answered with its error; the others go on.

    Args:
        ledger: The ledger.
        progress: Follows the work.
        written: Returns the document of a preview.
        model_name: Only this model's.
        owner: Name of the worker; None invents one.
        lease: Seconds after which others may take over, unless a heartbeat comes first.
        check: Called at every step of the work; what it raises lets the job wait again.
        compute: Computes a preview.

    Raises:
        RetryLaterError: The surroundings are at fault, or ``check`` said so: the job waits again.
        KeyboardInterrupt: The job waits again.
    """
    held = _Held(ledger, owner or new_holder(), lease)
    while (job := held.claim(model_name)) is not None:
        answered = _answer(held, job, progress, written, check, compute or _compute)
        if answered is not None:
            yield answered


@dataclass
class _Held:
    """The jobs that one worker takes."""

    ledger: Ledger
    owner: str
    lease: float

    def claim(self, model_name: str | None) -> PreviewJob | None:
        """Take the next job; those whose workers vanished too often are answered with that."""
        while True:
            with self.ledger.database.touch() as tx:
                model = tx.models.get(model_name) if model_name else None
                found = tx.preview_jobs.claim(owner=self.owner, ttl=self.lease, model=model)
            if found is None:
                return None
            job, sealed, attempt = found
            if attempt > MOST_ATTEMPTS:
                self.finish(job, LedgerError(f"its worker vanished {MOST_ATTEMPTS} times", "ask the administrator"))
            elif not is_sealed(self.ledger.config, PURPOSE, _facts(job), sealed):
                self.finish(job, _forged(job))
            else:
                return job

    def extend(self, job: PreviewJob) -> None:
        """Prolong a lease.

        Raises:
            LeaseLostError: It is held no longer.
        """
        with self.ledger.database.touch() as tx:
            if not tx.preview_jobs.extend(job.id, owner=self.owner, ttl=self.lease):
                raise LeaseLostError(f"the lease on preview {job.id} was lost", "another worker may compute it")

    def give_back(self, job: PreviewJob) -> None:
        """Let a job wait again."""
        with self.ledger.database.touch() as tx:
            tx.preview_jobs.give_back(job.id, owner=self.owner)

    def finish(self, job: PreviewJob, answer: Mapping[str, Any] | LedgerError) -> PreviewJob | None:
        """Store an answer; return None if the lease was lost and somebody else does."""
        failed = isinstance(answer, LedgerError)
        ended = replace(
            job,
            state=PreviewJobState.FAILED if failed else PreviewJobState.DONE,
            finished_at=self.ledger.clock(),
            answer=_error(answer) if isinstance(answer, LedgerError) else plain(answer),
        )
        sealed = seal(self.ledger.config, PURPOSE, _facts(ended))

        def transaction() -> bool:
            with self.ledger.database.touch() as tx:
                return tx.preview_jobs.finish(ended, sealed, owner=self.owner)

        return ended if retry_when_busy(transaction) else None


def _answer(
    held: _Held, job: PreviewJob, progress: Progress, written: Written, check: Callable[[], None], compute: Compute
) -> PreviewJob | None:
    lost: list[LeaseLostError] = []

    def beat() -> None:
        try:
            held.extend(job)
        except LeaseLostError as error:
            lost.append(error)
        except LedgerError:
            # The database is busy or away. The next heartbeat tries again, and the end of the job decides.
            return

    def require_lease() -> None:
        if lost:
            raise lost[0]

    try:
        with repeatedly(beat, held.lease / HEARTBEATS_PER_LEASE, name="preview heartbeat"):
            with held.ledger.database.read() as tx:
                name = tx.models.by_id(job.model_id).name
            texts = tuple(f"index:{index}" for index in sorted(job.classes))
            found = compute(held.ledger, name, texts, InterruptibleProgress(progress, require_lease, check))
            return held.finish(job, written(found))
    except LeaseLostError:
        return None
    except (RetryLaterError, KeyboardInterrupt, SystemExit):
        held.give_back(job)
        raise
    except Exception as error:
        if (transient := as_transient(error)) is not None:
            held.give_back(job)
            raise transient from error
        told = error if isinstance(error, LedgerError) else LedgerError(f"{type(error).__name__}: {error}")
        return held.finish(job, told)


def _compute(ledger: Ledger, model_name: str, texts: tuple[str, ...], progress: Progress) -> "Preview":
    # Imported here: it loads torch, which whoever only asks does not need.
    from .preview import preview

    return preview(ledger, model_name, texts, progress)


def _error(error: LedgerError) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def _require_sealed(ledger: Ledger, job: PreviewJob, sealed: str) -> None:
    if not is_sealed(ledger.config, PURPOSE, _facts(job), sealed):
        raise _forged(job)


def _forged(job: PreviewJob) -> RowError:
    return RowError(
        f"the row of preview {job.id} is not as the ledger wrote it", "ask for the preview again; see: unledger fsck"
    )


def _facts(job: PreviewJob) -> dict[str, Any]:
    """Return what a seal covers: what was asked, and the answer once it is there."""
    ended = job.state.has_ended
    return {
        "id": job.id,
        "model_id": job.model_id,
        "classes": sorted(job.classes),
        "actor": job.actor,
        "created_at": job.created_at,
        "state": job.state.value if ended else None,
        "finished_at": job.finished_at if ended else None,
        "answer": job.answer if ended else None,
    }
