"""Documents of what a worker computes for somebody who asks from afar."""

from ledger.domain.jobs import Job, JobState
from ledger.domain.models import Model

from .document import Document, document


def preview_job_document(job: Job, model: Model) -> Document:
    """Return what was asked, and the preview once it is there."""
    asked = {"classes": list(model.labels.names(job.asked["classes"]))}
    return document("preview_job", _job(job, model, asked, "preview"))


def withdrawal_job_document(job: Job, model: Model) -> Document:
    """Return what was asked, and the decision once it is carried out."""
    asked = {name: job.asked[name] for name in ("request", "reason", "waive_gates", "solvers")}
    return document("withdrawal_job", _job(job, model, asked, "decision"))


def is_withdrawal_job(found: Document) -> bool:
    """Whether the answer to a withdrawal is a job that waits for a worker, and no decision yet."""
    return bool(found["schema"] == document("withdrawal_job", {})["schema"])


def _job(job: Job, model: Model, asked: Document, answer: str) -> Document:
    return {
        "id": job.id,
        "model": model.name,
        "model_id": model.id,
        **asked,
        "actor": job.actor,
        "state": job.state.value,
        "created_at": job.created_at,
        "finished_at": job.finished_at,
        answer: job.answer if job.state is JobState.DONE else None,
        "error": job.answer if job.state is JobState.FAILED else None,
    }
