"""Previews that a worker computes, as documents."""

from collections.abc import Sequence

from ledger.desk.asked import ModelKey
from ledger.documents.document import Document
from ledger.documents.jobs import preview_job_document
from ledger.domain.jobs import JobKind
from ledger.service.ledger import Ledger
from ledger.service.models.lookup import get_model, get_model_numbered
from ledger.service.requests.jobs import show_job
from ledger.service.requests.preview_jobs import file_preview

from .names import model_name


class LocalPreviews:
    """Takes questions for a worker, and hands out its answers.

    Args:
        ledger: The ledger; its actor is who asks.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def ask(self, model: ModelKey, classes: Sequence[str]) -> Document:
        """Ask for a preview.

        Args:
            model: The model.
            classes: Labels, or indices behind ``index:``.

        Raises:
            NotFoundError: There is no such model.
            UsageError: No class is named, or one that is none.
            TooFewRetainedError: Too few classes would be left.
            RetryLaterError: So many wait that no answer would come in time.
        """
        owner = get_model(self._ledger, model_name(self._ledger, model))
        return preview_job_document(file_preview(self._ledger, owner.name, owner.labels.resolve_all(classes)), owner)

    def show(self, preview: str) -> Document:
        """Return a preview that was asked for, with its answer once a worker has computed it.

        Raises:
            NotFoundError: There is none of this id, or its answer was kept long enough.
            RowError: Its row is not as the ledger wrote it.
        """
        job = show_job(self._ledger, JobKind.PREVIEW, preview)
        return preview_job_document(job, get_model_numbered(self._ledger, job.model_id))
