"""Withdrawals as jobs: where one takes new weights, a worker computes them for somebody who asks from afar.

A job is bound to the request as it was when somebody asked. So it is carried out once: a row of a job that is put back
after it was done finds another revision. The end of the job and the withdrawal are one transaction, in the name of who
asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ledger.domain.jobs import Job, JobKind
from ledger.domain.requests import Request
from ledger.domain.versions import Version
from ledger.errors import ConflictError
from ledger.service.computation.compute import OpenModel
from ledger.service.evidence.gating import open_gated
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.retry import retry_when_busy
from ledger.store.unit_of_work import Transaction

from .decisions import require_reason_to_waive, require_solvers
from .held_jobs import HeldJobs
from .jobs import add_job, is_genuine
from .withdrawal import plan_withdrawal, withdraw

Written = Callable[[Transaction, Request, Version | None], Mapping[str, Any]]
"""Returns the document of a withdrawal, inside the transaction that makes it."""


def file_withdrawal(
    ledger: Ledger,
    request_id: int,
    reason: str,
    *,
    waive_gates: bool = False,
    solvers: Sequence[str] = (),
    expected: str | None = None,
) -> Job | None:
    """Ask a worker to withdraw a request; None where that takes no new weights, so that nobody has to wait for it.

    Whoever asks the same again gets the job that waits already.

    Args:
        ledger: The ledger; its actor decides.
        request_id: Which request.
        reason: Why, kept as a note beside the audit log.
        waive_gates: Accept the new version even if it misses a quality gate; the reason tells why.
        solvers: Solvers that compute it in the place of those of the model.
        expected: Revision of the request that the decision is about; None takes it as it is now.

    Raises:
        ConflictError: It is to be withdrawn already, otherwise or by somebody else.
        LedgerError: As :func:`.withdrawal.withdraw` raises before it computes.
        RetryLaterError: So many wait that no answer would come in time.
    """
    require_reason_to_waive(reason, waive_gates=waive_gates)
    named = require_solvers(ledger, solvers)
    with ledger.database.read() as tx:
        planned = plan_withdrawal(tx, ledger, request_id, waive_gates=waive_gates, solvers=named, expected=expected)
    if not planned.readmitted:
        return None
    asked = {
        "request": request_id,
        "reason": reason,
        "waive_gates": waive_gates,
        "solvers": list(named),
        "expected": planned.request.revision,
    }

    def transaction() -> Job:
        with ledger.database.touch() as tx:
            waiting = _waiting(tx, ledger, request_id)
            if waiting is None:
                return add_job(tx, ledger, JobKind.WITHDRAWAL, planned.model, asked)
            if (waiting.actor, waiting.asked) != (ledger.actor, asked):
                raise ConflictError(
                    f"request {request_id} is to be withdrawn already: {waiting.actor} asked for it",
                    "a worker carries that out; look at the request again afterwards",
                )
            return waiting

    return retry_when_busy(transaction)


def waiting_withdrawal(ledger: Ledger, request_id: int) -> Job | None:
    """Return the job that is to withdraw a request; None if there is none, or it has ended."""
    with ledger.database.read() as tx:
        return _waiting(tx, ledger, request_id)


def carry_out_withdrawal(
    held: HeldJobs, job: Job, progress: Progress, written: Written, open_model: OpenModel = open_gated
) -> Job:
    """Withdraw a request as somebody asked for it, and answer with the document of that.

    Raises:
        LedgerError: As :func:`.withdrawal.withdraw` raises.
        LeaseLostError: The job is held no longer: nothing was withdrawn.
    """
    ended: list[Job] = []

    def end(tx: Transaction, after: Request, version: Version | None) -> None:
        ended.append(held.finish_in(tx, job, written(tx, after, version)))

    asked = job.asked
    withdraw(
        replace(held.ledger, actor=job.actor),
        asked["request"],
        asked["reason"],
        progress,
        waive_gates=asked["waive_gates"],
        solvers=asked["solvers"],
        open_model=open_model,
        expected=asked["expected"],
        also=end,
    )
    return ended[0]


def _waiting(tx: Transaction, ledger: Ledger, request_id: int) -> Job | None:
    revision = tx.requests.get(request_id).revision
    for job, sealed in tx.jobs.open(JobKind.WITHDRAWAL):
        asked = job.asked
        # One about another revision comes to nothing when its turn comes.
        if is_genuine(ledger, job, sealed) and (asked["request"], asked["expected"]) == (request_id, revision):
            return job
    return None
