"""Documents of previews that a worker computes for somebody who asks from afar."""

from ledger.domain.models import Model
from ledger.domain.preview_jobs import PreviewJob, PreviewJobState

from .document import Document, document


def preview_job_document(job: PreviewJob, model: Model) -> Document:
    """Return what was asked, and the answer once it is there."""
    return document(
        "preview_job",
        {
            "id": job.id,
            "model": model.name,
            "model_id": model.id,
            "classes": list(model.labels.names(job.classes)),
            "actor": job.actor,
            "state": job.state.value,
            "created_at": job.created_at,
            "finished_at": job.finished_at,
            "preview": job.answer if job.state is PreviewJobState.DONE else None,
            "error": job.answer if job.state is PreviewJobState.FAILED else None,
        },
    )
