"""Work for somebody who asks from afar: they file a job, a worker carries it out, and the answer waits to be fetched.

A job is a row, not an event. Each row is sealed, what was asked and what was answered, so that nobody who can write the
database alone makes a worker act in somebody's name, or people decide upon figures that no worker computed.
"""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ledger.domain.jobs import Job, JobKind, JobState
from ledger.domain.models import Model
from ledger.errors import RetryLaterError, RowError
from ledger.service.access.seals import is_sealed, seal
from ledger.service.ledger import Ledger
from ledger.store.unit_of_work import Transaction

ID_BYTES = 16
MOST_WAITING = 100
"""Jobs of a kind that wait at a time: more would be answered when nobody waits for them any more."""
ANSWERS_ARE_KEPT = timedelta(days=7)


def add_job(tx: Transaction, ledger: Ledger, kind: JobKind, model: Model, asked: Mapping[str, Any]) -> Job:
    """Add a job that waits; forget answers that were kept long enough.

    Args:
        tx: The transaction.
        ledger: The ledger; its actor is who asks.
        kind: What is asked for.
        model: The model that it is about.
        asked: What exactly, in values that JSON holds.

    Raises:
        RetryLaterError: So many wait that no answer would come in time.
    """
    now = ledger.clock()
    tx.jobs.forget(finished_before=now - ANSWERS_ARE_KEPT)
    waiting = tx.jobs.count_waiting(kind)
    if waiting >= MOST_WAITING:
        raise RetryLaterError(f"{waiting} {kind.value}s wait already", "is a worker there? see: unledger status")
    job = Job(secrets.token_hex(ID_BYTES), kind, model.id, asked, ledger.actor, JobState.WAITING, now)
    tx.jobs.add(job, job_seal(ledger, job))
    return job


def show_job(ledger: Ledger, kind: JobKind, job_id: str) -> Job:
    """Return a job, with its answer once that is there.

    Raises:
        NotFoundError: There is none of this kind and id, or its answer was kept long enough.
        RowError: Its row is not as the ledger wrote it.
    """
    with ledger.database.read() as tx:
        job, sealed = tx.jobs.get(kind, job_id)
    if not is_genuine(ledger, job, sealed):
        raise forged(job)
    return job


def job_seal(ledger: Ledger, job: Job) -> str:
    """Return the seal on a job's row."""
    return seal(ledger.config, job.kind.value, _facts(job))


def is_genuine(ledger: Ledger, job: Job, sealed: str) -> bool:
    """Whether a job's row is as the ledger wrote it."""
    return is_sealed(ledger.config, job.kind.value, _facts(job), sealed)


def forged(job: Job) -> RowError:
    """Return what is said of a job whose row somebody changed."""
    return RowError(
        f"the row of {job.kind.value} {job.id} is not as the ledger wrote it", "ask for it again; see: unledger fsck"
    )


def _facts(job: Job) -> dict[str, Any]:
    """Return what a seal covers: what was asked, and the answer once it is there."""
    ended = job.state.has_ended
    return {
        "id": job.id,
        "model_id": job.model_id,
        "asked": dict(job.asked),
        "actor": job.actor,
        "created_at": job.created_at,
        "state": job.state.value if ended else None,
        "finished_at": job.finished_at if ended else None,
        "answer": job.answer if ended else None,
    }
