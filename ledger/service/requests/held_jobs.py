"""The jobs that one worker takes: claimed under a lease, prolonged, given back or ended."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ledger.audit.row_digests import plain
from ledger.domain.jobs import Job, JobState
from ledger.errors import LeaseLostError, LedgerError
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.store.unit_of_work import Transaction

from .jobs import forged, is_genuine, job_seal

MOST_ATTEMPTS = 3
TOLD_APART = frozenset({"message", "hint"})
"""Attributes that every error has."""


@dataclass
class HeldJobs:
    """The jobs that one worker takes.

    Args:
        ledger: The ledger.
        owner: Name of the worker.
        lease: Seconds after which others may take over, unless a heartbeat comes first.
    """

    ledger: Ledger
    owner: str
    lease: float

    def claim(self, model_name: str | None) -> Job | None:
        """Take the next job; those whose workers vanished too often are answered with that."""
        while True:
            with self.ledger.database.touch() as tx:
                model = tx.models.get(model_name) if model_name else None
                found = tx.jobs.claim(owner=self.owner, ttl=self.lease, model=model)
            if found is None:
                return None
            job, sealed, attempt = found
            if attempt > MOST_ATTEMPTS:
                self.fail(job, LedgerError(f"its worker vanished {MOST_ATTEMPTS} times", "ask the administrator"))
            elif not is_genuine(self.ledger, job, sealed):
                self.fail(job, forged(job))
            else:
                return job

    def extend(self, job: Job) -> None:
        """Prolong a lease.

        Raises:
            LeaseLostError: It is held no longer.
        """
        with self.ledger.database.touch() as tx:
            if not tx.jobs.extend(job.id, owner=self.owner, ttl=self.lease):
                raise _lost(job)

    def give_back(self, job: Job) -> None:
        """Let a job wait again."""
        with self.ledger.database.touch() as tx:
            tx.jobs.give_back(job.id, owner=self.owner)

    def finish_in(self, tx: Transaction, job: Job, answer: Mapping[str, Any]) -> Job:
        """End a job in the transaction that does what was asked, so that either both are done or neither.

        Raises:
            LeaseLostError: It is held no longer: somebody else does it.
        """
        ended = self._ended(job, JobState.DONE, answer)
        if not tx.jobs.finish(ended, job_seal(self.ledger, ended), owner=self.owner):
            raise _lost(job)
        return ended

    def answer(self, job: Job, answer: Mapping[str, Any]) -> Job | None:
        """Store an answer; return None if the lease was lost and somebody else does."""
        return self._store(self._ended(job, JobState.DONE, answer))

    def fail(self, job: Job, error: LedgerError) -> Job | None:
        """Store why a job failed; return None if the lease was lost and somebody else carries it out."""
        data = {name: value for name, value in vars(error).items() if name not in TOLD_APART}
        told = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        return self._store(self._ended(job, JobState.FAILED, {**told, "exit_code": error.exit_code, **data}))

    def _ended(self, job: Job, state: JobState, answer: Mapping[str, Any]) -> Job:
        return replace(job, state=state, finished_at=self.ledger.clock(), answer=plain(answer))

    def _store(self, ended: Job) -> Job | None:
        sealed = job_seal(self.ledger, ended)

        def transaction() -> bool:
            with self.ledger.database.touch() as tx:
                return tx.jobs.finish(ended, sealed, owner=self.owner)

        return ended if retry_when_busy(transaction) else None


def _lost(job: Job) -> LeaseLostError:
    return LeaseLostError(f"the lease on {job.kind.value} {job.id} was lost", "another worker may carry it out")
