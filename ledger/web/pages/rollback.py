"""Roll back: first what that would reopen, then the question."""

from datetime import datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.documents.document import Document
from ledger.domain.due import days_left
from ledger.errors import UsageError
from ledger.web.security.guarded_routes import GuardedRoute

from .fields import Line, Note
from .moments import moment
from .numbers import Number
from .rendering import render
from .visitors import Operator

router = APIRouter(route_class=GuardedRoute)


@router.get("/models/{number}/rollback/{version}")
def plan(request: Request, number: Number, version: Number, visit: Operator) -> Response:
    """Show what it would do."""
    with visit.desk() as desk:
        planned, now = desk.versions.plan_rollback(number, version), desk.ledger.clock()
    return render(
        request,
        "rollback.html.j2",
        caller=visit.caller,
        title=f"Roll back to version {version}",
        section="/models",
        now=now,
        plan={**planned, "reopened": [_reopened(one, now) for one in planned["reopened"]]},
        model_id=number,
        confirmation=planned["confirmation"],
    )


@router.post("/models/{number}/rollback/{version}")
def roll_back(
    number: Number,
    version: Number,
    visit: Operator,
    confirmation: Line = "",
    reason: Note = "",
) -> Response:
    """Do what the plan said that was shown; refused if the ledger changed since."""
    if not reason.strip():
        raise UsageError("a rollback needs a reason", "go back and give one: it is kept in the history")
    with visit.desk() as desk:
        desk.versions.roll_back(number, version, confirmation, reason.strip())
    return RedirectResponse(f"/models/{number}?told=rolled_back", 303)


def _reopened(one: Document, now: datetime) -> Document:
    """Return a request as it would wait again: with its original due date."""
    return {**one, "days_left": days_left(moment(one["due_at"]), now)}
