"""Carry out what waits, from within a program."""

from ledger.desk.local.jobs import JOB_DOCUMENTS
from ledger.documents.requests import outcome_document
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.requests.job_worker import carry_out_jobs
from ledger.service.requests.leases import require_no_lease
from ledger.service.requests.worker import work

from .results import CarriedOut
from .values import Listing


def work_off(ledger: Ledger, progress: Progress, model: str | None) -> Listing[CarriedOut]:
    """Carry out jobs that somebody waits for, then requests until none is left, and return what became of these.

    Raises:
        NotFoundError: There is no such model.
        LeaseHeldError: Nothing is left but what another worker holds.
        RetryLaterError: Something came in between; the request in progress is back in the queue.
        KeyboardInterrupt: Likewise.
    """
    for _ in carry_out_jobs(ledger, progress, JOB_DOCUMENTS, model_name=model):
        """Its answer is recorded."""
    done = tuple(
        CarriedOut.of(outcome_document(outcome, ledger.clock())) for outcome in work(ledger, progress, model_name=model)
    )
    if not any(one.error for one in done):
        require_no_lease(ledger, model)
    return Listing(done)
