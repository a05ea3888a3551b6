"""Jobs that wait for a worker, and their answers: queries only.

A worker holds a job under a lease on the database's clock, as it does a request. The job itself is no part of the
history: what comes of it is.
"""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, delete, func, select, update
from sqlalchemy.orm import Session

from ledger.domain.jobs import Job, JobKind, JobState
from ledger.domain.models import Model
from ledger.errors import NotFoundError, RowError
from ledger.store.database.engine import database_time
from ledger.store.database.news import TELL, told
from ledger.store.database.tables import JobRow

JOB_WAITS = "job.waits"
"""What workers are told of a new job, which is no event of the audit log."""
ROW = JobRow
WAITING, RUNNING = JobState.WAITING.value, JobState.RUNNING.value


class Jobs:
    """What workers compute for people who ask from afar."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, job: Job, seal: str) -> None:
        """Insert a job that waits."""
        self._session.add(
            JobRow(
                id=job.id,
                kind=job.kind.value,
                model_id=job.model_id,
                asked=dict(job.asked),
                actor=job.actor,
                state=job.state.value,
                created_at=job.created_at,
                seal=seal,
            )
        )
        self._session.flush()
        if self._session.get_bind().dialect.name == "postgresql":
            self._session.connection().exec_driver_sql(f"SELECT {TELL}", (told([JOB_WAITS]),))

    def get(self, kind: JobKind, job_id: str) -> tuple[Job, str]:
        """Return a job of a kind and its seal.

        Raises:
            NotFoundError: There is none of this id.
        """
        row = self._session.get(JobRow, job_id, populate_existing=True)
        if row is None or row.kind != kind.value:
            raise NotFoundError(
                f"there is no {kind.value} {job_id[:40]}", "answers are kept for some days only: ask for it again"
            )
        return _job(row), row.seal

    def open(self, kind: JobKind) -> list[tuple[Job, str]]:
        """Return the jobs of a kind that have no answer yet, the oldest first, each with its seal."""
        wanted = select(ROW).where(ROW.state.in_((WAITING, RUNNING)), ROW.kind == kind.value)
        return [(_job(row), row.seal) for row in self._session.scalars(wanted.order_by(ROW.created_at, ROW.id))]

    def count_waiting(self, kind: JobKind) -> int:
        """Return how many jobs of a kind no worker has begun."""
        counted = select(func.count()).where(ROW.state == WAITING, ROW.kind == kind.value)
        return self._session.scalar(counted) or 0

    def claim(self, *, owner: str, ttl: float, model: Model | None = None) -> tuple[Job, str, int] | None:
        """Take the oldest job that may be carried out now; return it with its seal and the number of this attempt."""
        free = (ROW.state == WAITING) | ((ROW.state == RUNNING) & (ROW.lease_expires <= database_time()))
        offered = select(ROW.id).where(free)
        if model is not None:
            offered = offered.where(ROW.model_id == model.id)
        first = offered.order_by(ROW.created_at, ROW.id).limit(1).scalar_subquery()
        row = self._update(
            # What the inner query saw must still hold where it is written.
            (ROW.id == first) & free,
            state=RUNNING,
            lease_owner=owner,
            lease_expires=database_time() + ttl,
            attempts=ROW.attempts + 1,
        )
        return None if row is None else (_job(row), row.seal, row.attempts)

    def extend(self, job_id: str, *, owner: str, ttl: float) -> bool:
        """Prolong a lease; whether it is held still."""
        return self._update(_held(job_id, owner), lease_expires=database_time() + ttl) is not None

    def give_back(self, job_id: str, *, owner: str) -> None:
        """Let a job wait again; the attempt does not count."""
        values = {"state": WAITING, "lease_owner": None, "lease_expires": None, "attempts": ROW.attempts - 1}
        self._update(_held(job_id, owner), **values)

    def finish(self, job: Job, seal: str, *, owner: str) -> bool:
        """Store the answer to a job; whether its lease was held still."""
        row = self._update(
            _held(job.id, owner),
            state=job.state.value,
            finished_at=job.finished_at,
            answer=job.answer,
            seal=seal,
            lease_owner=None,
            lease_expires=None,
        )
        return row is not None

    def forget(self, *, finished_before: datetime) -> int:
        """Remove old answers, and return how many there were."""
        old = delete(ROW).where(ROW.finished_at < finished_before)
        done = self._session.execute(old.execution_options(synchronize_session=False))
        return cast("CursorResult[object]", done).rowcount

    def _update(self, where: ColumnElement[bool], **values: Any) -> JobRow | None:
        statement = update(ROW).where(where).values(**values).returning(ROW)
        options = {"synchronize_session": False, "populate_existing": True}
        return self._session.scalars(statement, execution_options=options).one_or_none()


def _held(job_id: str, owner: str) -> ColumnElement[bool]:
    return (
        (ROW.id == job_id) & (ROW.state == RUNNING) & (ROW.lease_owner == owner) & (ROW.lease_expires > database_time())
    )


def _job(row: JobRow) -> Job:
    try:
        return Job(
            id=row.id,
            kind=JobKind(row.kind),
            model_id=row.model_id,
            asked=dict(row.asked),
            actor=row.actor,
            state=JobState(row.state),
            created_at=row.created_at,
            finished_at=row.finished_at,
            answer=row.answer,
        )
    except (TypeError, ValueError) as error:
        raise RowError(f"a job in the database cannot be read: {error}", "nothing rests on it: ask again") from error
