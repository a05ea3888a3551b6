"""One request: what it asks for, what happened to it, what was measured, and the decision about it."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.desk.local.desk import LocalDesk
from ledger.documents.document import Document
from ledger.documents.jobs import is_withdrawal_job
from ledger.domain.states import PERSONAL_ACTIONS, TRANSITIONS, Action, RequestState
from ledger.errors import LedgerError, UsageError
from ledger.service.audit.listing import count_events
from ledger.service.requests.decisions import require_nothing_computed
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit

from .decision_forms import new_due_date, require_fitting_day, require_reason
from .evidence import standing_of
from .fields import Line, Note
from .numbers import NumberFromOne
from .past import binding_of, fulfilment_of
from .refusals import Refusal, refusal, status_after, typed_into
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
    """Record a decision about what the caller saw; if it is refused, show what it is now and keep what was typed."""
    with visit.desk() as desk:
        try:
            following = _decide(
                desk, number, action, reason.strip(), revision or None, due, waives=waive_gates == "yes"
            )
        except LedgerError as error:
            refused = refusal(error, action=action, reason=reason, due=due, waive_gates=waive_gates)
            return _page(request, visit, desk, number, refused)
    return RedirectResponse(following, 303)


def _decide(
    desk: LocalDesk, number: int, action: str, reason: str, expected: str | None, due: str, *, waives: bool
) -> str:
    """Decide as the form says, and return the address of the page that tells of it."""
    if action not in set(ACTIONS):
        raise UsageError("no decision was chosen", "choose one")
    require_reason(reason)
    require_fitting_day(action, due)
    told = f"/requests/{number}?told=decided"
    if action == Action.EXTEND:
        require_nothing_computed(Action.EXTEND, waive_gates=waives, solvers=())
        desk.requests.extend(number, new_due_date(desk, due), reason, expected=expected)
    elif action == Action.WITHDRAW:
        done = desk.requests.withdraw(number, reason, waive_gates=waives, expected=expected)
        return f"/withdrawals/{done['id']}" if is_withdrawal_job(done) else told
    else:
        desk.requests.decide(number, Action(action), reason, waive_gates=waives, expected=expected)
    return told


def _page(request: Request, visit: Visit, desk: LocalDesk, number: int, refused: Refusal | None = None) -> Response:
    # Before the rest: what happens from here on makes the page look again.
    place = count_events(desk.ledger)
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
        place=place,
        status=status_after(refused),
        r=found,
        refused=refused,
        typed=typed_into(refused, action="approve", reason="", due="", waive_gates=""),
        actions=_actions(found),
        withdrawal=desk.requests.waiting_withdrawal(number),
        bound=binding_of(found),
        fulfilled=fulfilment_of(found),
        standing=None if version is None else standing_of(desk.versions.evidence(found["model_id"], version)),
        certificates=_certificates(desk, number),
        certifiable=stands,
    )


def _certificates(desk: LocalDesk, number: int) -> list[Document]:
    return [one for one in desk.certificates.all()["items"] if one["request"] == number]


def _actions(found: Document) -> list[tuple[str, str]]:
    """Return what a person may decide now."""
    state = RequestState(found["state"])
    allowed = {action for now, action in TRANSITIONS if now is state and action in PERSONAL_ACTIONS}
    return [(action.value, says) for action, says in ACTIONS.items() if action in allowed]
