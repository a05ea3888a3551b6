"""Previews as jobs: a worker computes them for somebody who asks from afar. They change nothing."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ledger.domain.jobs import Job, JobKind
from ledger.errors import UsageError
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.retry import retry_when_busy

from .held_jobs import HeldJobs
from .jobs import add_job
from .retention import check_retained

if TYPE_CHECKING:
    from .preview import Preview

Compute = Callable[[Ledger, str, tuple[str, ...], Progress], "Preview"]
"""Computes a preview of a model and some classes."""


def file_preview(ledger: Ledger, model_name: str, classes: frozenset[int]) -> Job:
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

    def transaction() -> Job:
        with ledger.database.touch() as tx:
            model = tx.models.get(model_name)
            tx.trusted.live(model.name)
            if not classes or not classes <= set(range(len(model.labels))):
                raise UsageError("a preview is of at least one class, and of classes of the model", "name one or more")
            check_retained(model, tx.versions.live(model).forgotten | classes)
            return add_job(tx, ledger, JobKind.PREVIEW, model, {"classes": sorted(classes)})

    return retry_when_busy(transaction)


def carry_out_preview(
    held: HeldJobs,
    job: Job,
    progress: Progress,
    written: Callable[["Preview"], Mapping[str, Any]],
    compute: Compute | None = None,
) -> Job | None:
    """Compute a preview, and answer with its document; None if the lease was lost meanwhile."""
    with held.ledger.database.read() as tx:
        name = tx.models.by_id(job.model_id).name
    texts = tuple(f"index:{index}" for index in sorted(job.asked["classes"]))
    return held.answer(job, written((compute or _compute)(held.ledger, name, texts, progress)))


def _compute(ledger: Ledger, model_name: str, texts: tuple[str, ...], progress: Progress) -> "Preview":
    # Imported here: it loads torch, which whoever only asks does not need.
    from .preview import preview

    return preview(ledger, model_name, texts, progress)
