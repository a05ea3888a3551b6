"""The inbox: requests to look through and to decide about, one or many at a time."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import Response

from ledger.desk.local.desk import LocalDesk
from ledger.documents.document import Document
from ledger.domain.states import OPEN_STATES, Action, RequestState
from ledger.errors import LedgerError, UsageError
from ledger.report.charts.words import count
from ledger.web.security.guarded_routes import GuardedRoute

from .fields import Line, Note
from .rendering import render
from .status import UNDECIDED
from .visitors import Decider, Reader
from .wording import BULK

router = APIRouter(route_class=GuardedRoute)
ROWS = 50
"""Requests on one page."""
MOST_CHOSEN = 200
SHOWS: dict[str, tuple[str, frozenset[RequestState]]] = {
    "open": ("open, soonest due first", OPEN_STATES),
    "overdue": ("overdue", OPEN_STATES),
    "undecided": ("that want a decision", frozenset(RequestState(name) for name in UNDECIDED)),
    "blocked": ("blocked by a gate", frozenset({RequestState.BLOCKED})),
    "waiting": ("with the workers", frozenset({RequestState.QUEUED, RequestState.RUNNING})),
    "fulfilled": ("fulfilled", frozenset({RequestState.FULFILLED})),
    "closed": ("closed without", frozenset({RequestState.DENIED, RequestState.CANCELLED, RequestState.WITHDRAWN})),
    "all": ("all, as they were filed", frozenset()),
}
BY_DUE_DATE = frozenset({"open", "overdue"})
"""Shown in the order of their due dates; the others as they were filed, page by page."""


@router.get("/inbox")
def inbox(
    request: Request,
    visit: Reader,
    show: str = "open",
    model: str = "",
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    choose: str = "none",
) -> Response:
    """Show requests."""
    show = show if show in SHOWS else "open"
    chosen_model = int(model) if model.isdecimal() and len(model) < 10 else None
    with visit.desk() as desk:
        models = desk.models.all()["items"]
        found = _found(desk, show, chosen_model, after)
        now = desk.ledger.clock()
    items = found["items"]
    kept = {"show": show} | ({} if chosen_model is None else {"model": str(chosen_model)})
    return render(
        request,
        "inbox.html.j2",
        caller=visit.caller,
        title="Inbox",
        section="/inbox",
        now=now,
        items=items,
        models=models,
        model=chosen_model,
        show=show,
        shows={key: name for key, (name, _) in SHOWS.items()},
        summary=_summary(show, found, after),
        query=urlencode(kept | ({"after": str(after)} if after else {})),
        first=urlencode(kept) if after else "",
        next=urlencode(kept | {"after": str(items[-1]["id"])}) if found["more"] and show not in BY_DUE_DATE else "",
        chosen=choose == "all",
        actions=[one.value for one in BULK],
    )


@router.post("/inbox")
def decide_many(
    request: Request,
    visit: Decider,
    action: Line = "",
    reason: Note = "",
    chosen: Annotated[Sequence[str], Form(alias="request")] = (),
) -> Response:
    """Decide about every chosen request, each on its own: one that cannot be decided does not stop the others."""
    if action not in {one.value for one in BULK}:
        raise UsageError("no decision was chosen", "go back and choose one")
    if not chosen:
        raise UsageError("no request was chosen", "go back and tick at least one")
    if not reason.strip():
        raise UsageError("a decision needs a reason", "go back and give one: it is kept in the history")
    done: list[Document] = []
    refused: list[Document] = []
    with visit.desk() as desk:
        for one in chosen[:MOST_CHOSEN]:
            number, _, revision = one.partition("@")
            if not number.isdecimal() or len(number) > 15:
                raise UsageError("this form is not one of ours", "go back to the inbox")
            try:
                made = desk.requests.decide(int(number), Action(action), reason.strip(), expected=revision or None)
                done.append(made["request"])
            except LedgerError as error:
                refused.append({"id": int(number), "state": None, "message": error.message, "hint": error.hint})
        now = desk.ledger.clock()
    return render(
        request,
        "bulk.html.j2",
        caller=visit.caller,
        title="Decided",
        section="/inbox",
        now=now,
        done=done,
        refused=refused,
        action=action,
        reason=reason.strip(),
        query=urlencode({name: value for name, value in request.query_params.items() if name in {"show", "model"}}),
    )


def _found(desk: LocalDesk, show: str, model: int | None, after: int) -> Document:
    if show not in BY_DUE_DATE:
        states = sorted(SHOWS[show][1])
        return desk.requests.all(model, states, after=after, limit=ROWS)
    status = desk.upkeep.status(model, most=ROWS, overdue=show == "overdue")
    listed = sorted((one for part in status["models"] for one in part["open"]), key=_due)
    whole = sum(part["overdue_count" if show == "overdue" else "open_count"] for part in status["models"])
    return {"items": listed[:ROWS], "more": max(0, whole - min(len(listed), ROWS))}


def _due(one: Document) -> Any:
    return str(one["due_at"]), one["id"]


def _summary(show: str, found: Document, after: int) -> str:
    shown, more = len(found["items"]), found["more"]
    if show in BY_DUE_DATE and more:
        return f"the {shown} soonest due of {count(shown + more, 'request')}; a filter shows others"
    if more:
        return f"{count(shown, 'request')} on this page, {more:,} more behind"
    return count(shown, "request") if not after else f"{count(shown, 'request')} on this last page"
