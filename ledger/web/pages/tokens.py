"""Tokens: made and shown once, listed, revoked."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Path
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.desk.local.desk import LocalDesk
from ledger.documents.document import Document
from ledger.domain.access import read_scopes
from ledger.errors import UsageError
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit

from .fields import Line
from .rendering import render
from .visitors import Administrator
from .wording import SCOPES

router = APIRouter(route_class=GuardedRoute)
LIFETIMES = {"30": 30, "90": 90, "365": 365, "": None}
"""Days after which a token lets nobody in any more, by what the form sends."""


@router.get("/tokens")
def all_tokens(request: Request, visit: Administrator) -> Response:
    """Show every token."""
    with visit.desk() as desk:
        return _page(request, visit, desk)


@router.post("/tokens")
def make_token(
    request: Request,
    visit: Administrator,
    name: Line = "",
    scope: Annotated[Sequence[str], Form()] = (),
    days: Line = "90",
) -> Response:
    """Make one, and show its text: here, once."""
    if days not in LIFETIMES:
        raise UsageError("this form is not one of ours", "go back to the tokens")
    lifetime = LIFETIMES[days]
    with visit.desk() as desk:
        ends: datetime | None = None if lifetime is None else desk.ledger.clock() + timedelta(days=lifetime)
        return _page(request, visit, desk, desk.access.create(name, read_scopes(scope), ends))


@router.post("/tokens/{number}/revoke")
def end_token(visit: Administrator, number: Annotated[str, Path(pattern="^[0-9a-f]{1,64}$")]) -> Response:
    """Revoke one."""
    with visit.desk() as desk:
        desk.access.revoke(number)
    return RedirectResponse("/tokens?told=revoked", 303)


def _page(request: Request, visit: Visit, desk: LocalDesk, made: Document | None = None) -> Response:
    newest_first = reversed(desk.access.all()["items"])
    return render(
        request,
        "tokens.html.j2",
        caller=visit.caller,
        title="Tokens",
        section="/tokens",
        now=desk.ledger.clock(),
        items=sorted(newest_first, key=lambda one: not one["valid"]),
        scopes=list(SCOPES.items()),
        made=made,
    )
