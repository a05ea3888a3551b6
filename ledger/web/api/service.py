"""The server itself: what ledger it serves, who asks, and its status."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from ledger.documents.document import document
from ledger.domain.access import Scope, sorted_scopes
from ledger.web.answers import answer
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit, requires, requires_one_of

from .described import MISSING, TEXT, described, said
from .values import PREFIX, OptionalModelId

router = APIRouter(route_class=GuardedRoute, prefix=PREFIX, tags=["service"])
Anybody = Annotated[Visit, requires_one_of(*Scope)]
Reader = Annotated[Visit, requires(Scope.READ)]
CALLER = said(
    "caller",
    "Who asks",
    name={"type": "string", "description": "As the audit history names them."},
    scopes={"type": "array", "items": TEXT},
    via={"type": "string", "description": "How it is known who asks."},
)


@router.get("/ledger", responses=described("ledger"))
def show_ledger(visit: Anybody) -> Response:
    """Return what the ledger is, and whether it may be written to."""
    with visit.desk() as desk:
        return answer(desk.upkeep.facts())


@router.get("/caller", responses=CALLER)
def show_caller(visit: Anybody) -> Response:
    """Return who asks, and what they may do."""
    caller = visit.caller
    scopes = [scope.value for scope in sorted_scopes(caller.scopes)]
    return answer(document("caller", {"name": caller.name, "scopes": scopes, "via": caller.via}))


@router.get("/status", responses=described("status", MISSING))
def show_status(
    visit: Reader,
    model: OptionalModelId = None,
    overdue: Annotated[bool, Query(description="List only what is late.")] = False,
    most: Annotated[
        int | None, Query(ge=0, le=10**6, description="Requests to list of each model; all if not said.")
    ] = None,
) -> Response:
    """Return what is live, open and late, and which workers are there."""
    with visit.desk() as desk:
        return answer(desk.upkeep.status(model, most=most, overdue=overdue))
