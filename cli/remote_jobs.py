"""Work that a worker beside a server does for us, and the wait for its answer."""

import time
from collections.abc import Callable

from ledger.documents.document import Document
from ledger.domain.jobs import JobState

from .render import say

PAUSE = 1.0
"""Seconds between two looks."""


def await_job(job: Document, look: Callable[[str], Document], answer: str, meanwhile: str) -> Document:
    """Wait until a worker has carried out a job, and return the document of what came of it.

    Args:
        job: The job, as it was when it was asked for.
        look: Returns it as it is now.
        answer: Member of its document that holds the answer.
        meanwhile: What to tell whoever waits.

    Raises:
        LedgerError: It failed: the error that the worker met.
    """
    from ledger.desk.remote.problems import error_of

    if not JobState(job["state"]).has_ended:
        say(meanwhile)
    while not JobState(job["state"]).has_ended:
        time.sleep(PAUSE)
        job = look(job["id"])
    if job["error"] is not None:
        raise error_of(500, {**job["error"], "detail": job["error"]["message"]})
    found: Document = job[answer]
    return found
