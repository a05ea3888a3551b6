"""Roll back: first what that would reopen, then the question."""

from datetime import datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.desk.local.desk import LocalDesk
from ledger.documents.document import Document
from ledger.domain.due import days_left
from ledger.errors import LedgerError, UsageError
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit

from .fields import Line, Note
from .moments import moment
from .numbers import Number
from .refusals import Refusal, refusal, status_after, typed_into
from .rendering import render
from .visitors import Operator

router = APIRouter(route_class=GuardedRoute)


@router.get("/models/{number}/rollback/{version}")
def plan(request: Request, number: Number, version: Number, visit: Operator) -> Response:
    """Show what it would do."""
    with visit.desk() as desk:
        return _page(request, visit, desk, number, version)


@router.post("/models/{number}/rollback/{version}")
def roll_back(
    request: Request,
    number: Number,
    version: Number,
    visit: Operator,
    confirmation: Line = "",
    reason: Note = "",
) -> Response:
    """Do what the plan said that was shown; if the ledger changed since, show the plan as it is now."""
    with visit.desk() as desk:
        try:
            if not reason.strip():
                raise UsageError("a rollback needs a reason", "give one: it is kept in the history")
            desk.versions.roll_back(number, version, confirmation, reason.strip())
        except LedgerError as error:
            return _page(request, visit, desk, number, version, refusal(error, reason=reason))
    return RedirectResponse(f"/models/{number}?told=rolled_back", 303)


def _page(
    request: Request, visit: Visit, desk: LocalDesk, number: int, version: int, refused: Refusal | None = None
) -> Response:
    planned, now = desk.versions.plan_rollback(number, version), desk.ledger.clock()
    return render(
        request,
        "rollback.html.j2",
        caller=visit.caller,
        title=f"Roll back to version {version}",
        section="/models",
        now=now,
        status=status_after(refused),
        plan={**planned, "reopened": [_reopened(one, now) for one in planned["reopened"]]},
        model_id=number,
        confirmation=planned["confirmation"],
        refused=refused,
        **typed_into(refused, reason=""),
    )


def _reopened(one: Document, now: datetime) -> Document:
    """Return a request as it would wait again: with its original due date."""
    return {**one, "days_left": days_left(moment(one["due_at"]), now)}
