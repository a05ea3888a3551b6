"""The audit history: its entries, its newest signed head, a check of all of it, and what to take along."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.desk.local.desk import LocalDesk
from ledger.documents.audit import rejected_log_document, without_free_text
from ledger.documents.document import Document
from ledger.errors import AuditError, IntegrityError, NotFoundError
from ledger.web.answers import encoded
from ledger.web.problems import problem
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit

from .rendering import render
from .visitors import Auditor

router = APIRouter(route_class=GuardedRoute)
ROWS = 50
"""Entries on one page."""
Cursor = Annotated[int | None, Query(ge=0, le=2**53)]


@router.get("/audit")
def history(request: Request, visit: Auditor, before: Cursor = None, after: Cursor = None) -> Response:
    """Show entries, the newest first: those under a number, or those that follow one, or the last of all."""
    with visit.desk() as desk:
        return _page(request, visit, desk, before, after)


@router.post("/audit/verify")
def verify(request: Request, visit: Auditor) -> Response:
    """Check every entry, every signature and every row now."""
    with visit.desk() as desk:
        try:
            found = desk.audit.verify()
        except IntegrityError as error:
            if not visit.reads:
                # As the API tells it: what is wrong may name a class.
                found = {"ok": False, "problem": problem(error, visit.caller)["detail"], "first_bad": None}
            elif isinstance(error, AuditError):
                found = rejected_log_document(error)
            else:
                found = {"ok": False, "problem": error.message, "first_bad": None}
        return _page(request, visit, desk, None, None, found)


@router.post("/audit/checkpoint")
def sign(visit: Auditor) -> Response:
    """Sign how far the history reaches."""
    with visit.desk() as desk:
        desk.audit.checkpoint()
    return RedirectResponse("/audit?told=signed", 303)


@router.get("/audit/log.jsonl")
def log_file(visit: Auditor) -> Response:
    """Send the whole log, as it is verified elsewhere."""
    return _file(visit, "audit-log.jsonl", "application/jsonl", lambda desk: "".join(desk.audit.export()))


@router.get("/audit/checkpoint.txt")
def checkpoint_file(visit: Auditor) -> Response:
    """Send the newest signed head."""
    return _file(visit, "checkpoint.txt", "text/plain", _newest_note)


@router.get("/audit/key.txt")
def key_file(visit: Auditor) -> Response:
    """Send the key that signatures are checked with."""
    return _file(visit, "ledger-key.txt", "text/plain", lambda desk: str(desk.audit.key()["key"]) + "\n")


def _page(
    request: Request,
    visit: Visit,
    desk: LocalDesk,
    before: int | None,
    after: int | None,
    verification: Document | None = None,
) -> Response:
    size = desk.upkeep.facts()["entries"]
    end = min(size, after + ROWS) if after is not None else size if before is None else min(size, before - 1)
    start = max(0, end - ROWS)
    entries = desk.audit.log(after=start, limit=max(0, end - start))["items"]
    return render(
        request,
        "audit.html.j2",
        caller=visit.caller,
        title="Audit",
        section="/audit",
        now=desk.ledger.clock(),
        size=size,
        entries=[_shown(one, visit) for one in reversed(entries)],
        newer=None if end >= size else min(size + 1, end + ROWS + 1),
        older=start + 1 if start > 0 else None,
        checkpoint=desk.audit.newest_checkpoint(),
        verification=verification,
    )


def _newest_note(desk: LocalDesk) -> str:
    newest = desk.audit.newest_checkpoint()
    if newest is None:
        raise NotFoundError("nothing has been signed yet", "sign it on the page of the audit history")
    return str(newest["note"])


def _shown(entry: Document, visit: Visit) -> Document:
    """Return an entry as the caller may see it, with what it shows as its record."""
    if visit.reads:
        return {**entry, "record": entry["leaf"]}
    shown = without_free_text(entry)
    # Not the hashed text, which would hold what is left out.
    return {**shown, "record": encoded({key: shown[key] for key in ("seq", "at", "kind", "data", "digest")}).decode()}


def _file(visit: Visit, name: str, media_type: str, read: Callable[[LocalDesk], str]) -> Response:
    with visit.desk() as desk:
        text = read(desk)
    return Response(text, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
