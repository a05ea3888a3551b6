"""Preview, then file: ask what forgetting would cost, follow the answer, and file the request that is bound to it."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Form, Path
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.desk.asked import FiledRequest
from ledger.desk.local.desk import LocalDesk
from ledger.documents.document import Document
from ledger.errors import ConflictError, LedgerError, UsageError
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit

from .dates import beginning_of_day_in, chosen_day
from .fields import Basis, Line, Lines, Note
from .foretold import foretold
from .numbers import Number
from .refusals import Refusal, refusal, status_after, typed_into
from .rendering import render
from .visitors import Filer, Reader

router = APIRouter(route_class=GuardedRoute)
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
MOST_ROWS = 40
"""Classes of an answer that are listed; retained ones come in the order of what they lose."""


@router.get("/preview")
def choose_model(request: Request, visit: Filer) -> Response:
    """Ask which model it is about, where there are several."""
    with visit.desk() as desk:
        found, now = desk.models.all()["items"], desk.ledger.clock()
    if len(found) == 1:
        return RedirectResponse(f"/models/{found[0]['id']}/preview", 303)
    return render(
        request,
        "preview_choose.html.j2",
        caller=visit.caller,
        title="Preview, then file",
        section="/models",
        now=now,
        models=found,
    )


@router.get("/models/{number}/preview")
def choose_classes(request: Request, number: Number, visit: Filer) -> Response:
    """Ask which classes it is about."""
    with visit.desk() as desk:
        return _form(request, visit, desk.models.show(number))


@router.post("/models/{number}/preview")
def ask(
    request: Request,
    number: Number,
    visit: Filer,
    chosen: Annotated[Sequence[str], Form(alias="class")] = (),
    names: Lines = "",
) -> Response:
    """Have a worker compute it."""
    texts = [f"index:{one}" for one in chosen] or [line.strip() for line in names.splitlines() if line.strip()]
    with visit.desk() as desk:
        try:
            if not texts:
                raise UsageError("no class was chosen", "choose at least one")
            job = desk.previews.ask(number, texts)
        except LedgerError as error:
            kept = [int(one) for one in chosen if one.isdecimal() and len(one) < 10]
            return _form(request, visit, desk.models.show(number), refusal(error, chosen=kept, names=names))
    return RedirectResponse(f"/previews/{job['id']}", 303)


@router.get("/previews/{job_id}")
def follow(request: Request, job_id: JobId, visit: Reader) -> Response:
    """Show how far it is, or the answer."""
    with visit.desk() as desk:
        return _answer(request, visit, desk, job_id)


@router.post("/previews/{job_id}/file")
def file_request(
    request: Request,
    job_id: JobId,
    visit: Filer,
    reason: Note = "",
    basis: Basis = "",
    external_id: Line = "",
    received: Line = "",
    key: Line = "",
) -> Response:
    """File the request, bound to what the preview foretold; if it is refused, say why, and keep what was typed."""
    with visit.desk() as desk:
        try:
            job = desk.previews.show(job_id)
            if job["preview"] is None:
                raise ConflictError("this preview has no answer to file a request with", "look again in a moment")
            filed = FiledRequest(
                classes=_indices(desk, job),
                reason=reason.strip(),
                basis=basis.strip(),
                external_id=external_id.strip(),
                received_at=_received(desk, received),
                idempotency_key=key or None,
                preview=job["preview"],
            )
            made = desk.requests.file(job["model_id"], [filed])["items"][0]
        except LedgerError as error:
            typed = refusal(error, reason=reason, basis=basis, external_id=external_id, received=received)
            return _answer(request, visit, desk, job_id, typed)
    return RedirectResponse(f"/requests/{made['id']}?told={'repeated' if made['repeated'] else 'filed'}", 303)


def _answer(request: Request, visit: Visit, desk: LocalDesk, job_id: str, refused: Refusal | None = None) -> Response:
    job = desk.previews.show(job_id)
    return render(
        request,
        "preview.html.j2",
        caller=visit.caller,
        title="Preview",
        section="/models",
        now=desk.ledger.clock(),
        status=status_after(refused),
        job=job,
        foretold=None if job["preview"] is None else foretold(job["preview"], MOST_ROWS),
        # Sent along when the request is filed: a form that is sent twice files once.
        key=f"preview-{job_id}-{secrets.token_hex(4)}",
        refused=refused,
        typed=typed_into(refused, reason="", basis="", external_id="", received=""),
    )


def _indices(desk: LocalDesk, job: Document) -> list[str]:
    """Return the classes of a preview by their indices: labels may read like indices."""
    labels = desk.models.labels(job["model_id"])
    return [f"index:{labels.index(name)}" for name in job["classes"]]


def _received(desk: LocalDesk, text: str) -> datetime | None:
    day = chosen_day(text)
    return None if day is None else beginning_of_day_in(desk, day)


def _form(request: Request, visit: Visit, model: Document, refused: Refusal | None = None) -> Response:
    return render(
        request,
        "preview_form.html.j2",
        caller=visit.caller,
        title="Preview, then file",
        section="/models",
        model=model,
        refused=refused,
        status=status_after(refused),
        **typed_into(refused, chosen=(), names=""),
    )
