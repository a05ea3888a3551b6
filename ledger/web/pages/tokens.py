"""Tokens: made and shown once, listed, revoked; and browsers that are logged in."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Path
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.desk.local.desk import LocalDesk
from ledger.documents.document import Document
from ledger.domain.access import read_scopes
from ledger.errors import LedgerError, UsageError
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit

from .fields import Line
from .refusals import Refusal, refusal, status_after, typed_into
from .rendering import render
from .visitors import Administrator
from .wording import SCOPES

router = APIRouter(route_class=GuardedRoute)
LIFETIMES = {"30": 30, "90": 90, "365": 365, "": None}
"""Days after which a token lets nobody in any more, by what the form sends."""
LIFETIME_WORDS = {"30": "30 days", "90": "90 days", "365": "a year", "": "never"}


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
    with visit.desk() as desk:
        try:
            made = desk.access.create(name, read_scopes(scope), _end(desk, days))
        except LedgerError as error:
            return _page(request, visit, desk, refused=refusal(error, name=name, scope=scope, days=days))
        return _page(request, visit, desk, made)


@router.post("/tokens/{number}/revoke")
def end_token(visit: Administrator, number: Annotated[str, Path(pattern="^[0-9a-f]{1,64}$")]) -> Response:
    """Revoke one."""
    with visit.desk() as desk:
        desk.access.revoke(number)
    return RedirectResponse("/tokens?told=revoked", 303)


@router.post("/sessions/endings")
def end_sessions(visit: Administrator, name: Line = "") -> Response:
    """End every session of a person."""
    with visit.desk() as desk:
        desk.access.end_sessions(name)
    return RedirectResponse("/tokens?told=sessions_ended", 303)


def _end(desk: LocalDesk, days: str) -> datetime | None:
    if days not in LIFETIMES:
        raise UsageError("this form is not one of ours", "choose after how long the token runs out")
    lifetime = LIFETIMES[days]
    return None if lifetime is None else desk.ledger.clock() + timedelta(days=lifetime)


def _page(
    request: Request, visit: Visit, desk: LocalDesk, made: Document | None = None, refused: Refusal | None = None
) -> Response:
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
        sessions=_by_person(desk),
        made=made,
        refused=refused,
        status=status_after(refused),
        typed=typed_into(refused, name="", scope=(), days="90"),
        lifetimes=LIFETIME_WORDS,
    )


def _by_person(desk: LocalDesk) -> list[Document]:
    """Return who is logged in with how many browsers, and since when."""
    found: dict[str, list[Document]] = {}
    for one in desk.access.sessions()["items"]:
        found.setdefault(one["name"], []).append(one)
    return [
        {
            "name": name,
            "count": len(theirs),
            "newest": max(one["created_at"] for one in theirs),
            "ends": max(one["expires_at"] for one in theirs),
        }
        for name, theirs in sorted(found.items())
    ]
