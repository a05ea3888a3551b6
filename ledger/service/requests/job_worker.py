"""Carry out the jobs of people who ask from afar, one after another."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger import installation
from ledger.domain.jobs import Job, JobKind
from ledger.errors import LeaseLostError, LedgerError, RetryLaterError
from ledger.service.computation.compute import OpenModel
from ledger.service.evidence.gating import open_gated
from ledger.service.ledger import Ledger
from ledger.service.progress import InterruptibleProgress, Progress
from ledger.store.repositories.leases import new_holder

from .claims import LEASE_SECONDS
from .heartbeat import HEARTBEATS_PER_LEASE, repeatedly
from .held_jobs import HeldJobs
from .preview_jobs import Compute, carry_out_preview
from .transient import as_transient
from .withdrawal_jobs import Written, carry_out_withdrawal

if TYPE_CHECKING:
    from .preview import Preview


@dataclass(frozen=True)
class JobDocuments:
    """Write what came of jobs, as those who asked will read it."""

    preview: Callable[["Preview"], Mapping[str, Any]]
    """Returns the document of a preview."""
    withdrawal: Written
    """Returns the document of a withdrawal."""


def carry_out_jobs(
    ledger: Ledger,
    progress: Progress,
    documents: JobDocuments,
    *,
    model_name: str | None = None,
    owner: str | None = None,
    lease: float = LEASE_SECONDS,
    check: Callable[[], None] = lambda: None,
    compute: Compute | None = None,
    open_model: OpenModel = open_gated,
) -> Iterator[Job]:
    """Carry out the jobs that wait, one after another, and yield each with its answer.

    One that fails is answered with its error; the others go on.

    Args:
        ledger: The ledger.
        progress: Follows the work.
        documents: Write what came of them.
        model_name: Only this model's.
        owner: Name of the worker; None invents one.
        lease: Seconds after which others may take over, unless a heartbeat comes first.
        check: Called at every step of the work; what it raises lets the job wait again.
        compute: Computes a preview.
        open_model: Lays a model out for the computation of a withdrawal.

    Raises:
        NotInstalledError: Nothing can be computed here; no job was claimed.
        RetryLaterError: The surroundings are at fault, or ``check`` said so: the job waits again.
        KeyboardInterrupt: The job waits again.
    """
    installation.require("engine", "carrying out requests")
    held = HeldJobs(ledger, owner or new_holder(), lease)

    def carry_out(job: Job, follows: Progress) -> Job | None:
        if job.kind is JobKind.WITHDRAWAL:
            return carry_out_withdrawal(held, job, follows, documents.withdrawal, open_model)
        return carry_out_preview(held, job, follows, documents.preview, compute)

    while (job := held.claim(model_name)) is not None:
        ended = _under_lease(held, job, progress, check, carry_out)
        if ended is not None:
            yield ended


def _under_lease(
    held: HeldJobs,
    job: Job,
    progress: Progress,
    check: Callable[[], None],
    carry_out: Callable[[Job, Progress], Job | None],
) -> Job | None:
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
        with repeatedly(beat, held.lease / HEARTBEATS_PER_LEASE, name="heartbeat of a job"):
            return carry_out(job, InterruptibleProgress(progress, require_lease, check))
    except LeaseLostError:
        return None
    except (RetryLaterError, KeyboardInterrupt, SystemExit):
        held.give_back(job)
        raise
    except Exception as error:
        if (transient := as_transient(error)) is not None:
            held.give_back(job)
            raise transient from error
        return held.fail(
            job, error if isinstance(error, LedgerError) else LedgerError(f"{type(error).__name__}: {error}")
        )
