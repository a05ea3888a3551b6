"""Previews from afar: a worker beside the server computes them, and we wait for the answer."""

import time
from collections.abc import Sequence

from ledger.desk.desk import Desk
from ledger.documents.document import Document
from ledger.domain.preview_jobs import PreviewJobState

from .render import say

PAUSE = 1.0
"""Seconds between two looks."""


def await_preview(desk: Desk, model: str, classes: Sequence[str]) -> Document:
    """Ask for a preview, and return its document once a worker has computed it.

    Raises:
        LedgerError: It could not be computed: the error that the worker met.
    """
    from ledger.desk.remote.problems import error_of

    job = desk.previews.ask(model, classes)
    if not PreviewJobState(job["state"]).has_ended:
        say("a worker computes it; Ctrl-C ends the wait")
    while not PreviewJobState(job["state"]).has_ended:
        time.sleep(PAUSE)
        job = desk.previews.show(job["id"])
    if job["error"] is not None:
        raise error_of(500, {**job["error"], "detail": job["error"]["message"]})
    found: Document = job["preview"]
    return found
