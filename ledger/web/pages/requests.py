"""One request: what it asks for, what happened to it, what was measured, and the decision about it."""

from datetime import date

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.desk.local.desk import LocalDesk
from ledger.documents.document import Document
from ledger.domain.states import PERSONAL_ACTIONS, TRANSITIONS, Action, RequestState
from ledger.errors import PreconditionError, UsageError
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit

from .dates import chosen_day, end_of_day_in
from .evidence import standing_of
from .fields import Line, Note
from .numbers import NumberFromOne
from .past import binding_of, fulfilment_of
from .rendering import render
from .visitors import Decider, Reader
from .wording import ACTIONS

router = APIRouter(route_class=GuardedRoute)


@router.get("/requests/{number}")
def show_request(request: Request, number: NumberFromOne, visit: Reader) -> Response:
    """Show it."""
    with visit.desk() as desk:
        return _page(request, visit, desk, number)


@router.post("/requests/{number}")
def decide(
    request: Request,
    number: NumberFromOne,
    visit: Decider,
    action: Line = "",
    reason: Note = "",
    revision: Line = "",
    due: Line = "",
    waive_gates: Line = "",
) -> Response:
    """Record a decision about what the caller saw; if it is another by now, show what it is and keep what was typed."""
    if not reason.strip():
        raise UsageError("a decision needs a reason", "go back and give one: it is kept in the history")
    why, expected = reason.strip(), revision or None
    with visit.desk() as desk:
        try:
            if action == Action.EXTEND:
                desk.requests.extend(number, end_of_day_in(desk, _day(due)), why, expected=expected)
            elif action == Action.WITHDRAW:
                desk.requests.withdraw(number, why, expected=expected)
            elif action in set(ACTIONS):
                waived = action == Action.RETRY and waive_gates == "yes"
                desk.requests.decide(number, Action(action), why, waive_gates=waived, expected=expected)
            else:
                raise UsageError("no decision was chosen", "go back and choose one")
        except PreconditionError as error:
            return _page(request, visit, desk, number, refused=error, wanted=action, reason=why)
    return RedirectResponse(f"/requests/{number}?told=decided", 303)


def _page(
    request: Request,
    visit: Visit,
    desk: LocalDesk,
    number: int,
    *,
    refused: PreconditionError | None = None,
    wanted: str = "",
    reason: str = "",
) -> Response:
    found = desk.requests.show(number)
    version = found["version"]
    stands = found["state"] == RequestState.FULFILLED and version is not None
    return render(
        request,
        "request.html.j2",
        caller=visit.caller,
        title=f"Request {number}",
        section="/inbox",
        now=desk.ledger.clock(),
        status=200 if refused is None else 412,
        r=found,
        refused=refused,
        wanted=wanted,
        reason=reason,
        actions=_actions(found),
        bound=binding_of(found),
        fulfilled=fulfilment_of(found),
        standing=None if version is None else standing_of(desk.versions.evidence(found["model_id"], version)),
        certificates=_certificates(desk, number),
        certifiable=stands,
    )


def _certificates(desk: LocalDesk, number: int) -> list[Document]:
    return [one for one in desk.certificates.all()["items"] if one["request"] == number]


def _actions(found: Document) -> list[tuple[str, str]]:
    """Return what a person may decide now. What takes new weights is decided on the ledger's machine."""
    state = RequestState(found["state"])
    allowed = {action for now, action in TRANSITIONS if now is state and action in PERSONAL_ACTIONS}
    if state is RequestState.FULFILLED:
        allowed.discard(Action.WITHDRAW)
    return [(action.value, says) for action, says in ACTIONS.items() if action in allowed]


def _day(text: str) -> date:
    day = chosen_day(text)
    if day is None:
        raise UsageError("extending needs a new due date", "go back and choose a day")
    return day
