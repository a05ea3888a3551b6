"""Tokens: made, listed, revoked; sessions: listed, ended.

The text of a token is shown once, in the answer that made it.
"""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from ledger.domain.access import DEFAULT_LIFETIME_DAYS, Scope, read_scopes
from ledger.web.answers import answer
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit, requires

from .bodies import EndingBody, TokenBody
from .described import CONFLICT, MISSING, described
from .values import PREFIX

router = APIRouter(route_class=GuardedRoute, prefix=PREFIX, tags=["access"])
Administrator = Annotated[Visit, requires(Scope.ADMIN)]
TokenId = Annotated[str, Path(pattern="^[0-9a-f]{1,64}$", description="A token's identifier.")]


@router.get("/tokens", responses=described("tokens"))
def show_tokens(visit: Administrator) -> Response:
    """Return every token, those that let nobody in any more included."""
    with visit.desk() as desk:
        return answer(desk.access.all())


@router.post("/tokens", status_code=201, responses=described("token", again=True))
def make_token(visit: Administrator, body: TokenBody) -> Response:
    """Make a token. Its text is in this answer and nowhere else.

    It ends after 90 days unless `expires_at` says otherwise; null is no end.
    """
    with visit.desk() as desk:
        # What is left out is no wish for a token without end.
        said = "expires_at" in body.model_fields_set
        ends = body.expires_at if said else desk.ledger.clock() + timedelta(days=DEFAULT_LIFETIME_DAYS)
        return answer(desk.access.create(body.name, read_scopes(body.scopes), ends), 201)


@router.post("/tokens/{number}/revocation", responses=described("token", MISSING, CONFLICT))
def end_token(visit: Administrator, number: TokenId) -> Response:
    """Let nobody in with a token any more, nor with sessions that were opened with it."""
    with visit.desk() as desk:
        return answer(desk.access.revoke(number))


@router.get("/sessions", responses=described("sessions"))
def show_sessions(visit: Administrator) -> Response:
    """Return the browser sessions that are open."""
    with visit.desk() as desk:
        return answer(desk.access.sessions())


@router.post("/sessions/endings", responses=described("sessions_ended"))
def end_sessions(visit: Administrator, body: EndingBody) -> Response:
    """End every session of a person, or of everybody, and make their login links useless."""
    with visit.desk() as desk:
        return answer(desk.access.end_sessions(body.name))
