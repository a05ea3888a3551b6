"""The inbox: requests to look through and to decide about, one or many at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
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
from ledger.web.security.scopes import Visit

from .decision_forms import new_due_date, require_fitting_day, require_reason
from .fields import Line, Note
from .refusals import Refusal, refusal, status_after, typed_into
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


@dataclass(frozen=True)
class Shown:
    """Which requests the page shows."""

    show: str
    model: int | None
    after: int

    @classmethod
    def of(cls, show: str, model: str, after: int) -> "Shown":
        """Return what an address says; what makes no sense in it is left aside."""
        chosen = int(model) if model.isdecimal() and len(model) < 10 else None
        return cls(show if show in SHOWS else "open", chosen, after)

    def query(self, *, after: int | None = None) -> str:
        """Return it as a part of an address, from another place in the list if one is named."""
        begins = self.after if after is None else after
        kept = {"show": self.show} | ({} if self.model is None else {"model": str(self.model)})
        return urlencode(kept | ({"after": str(begins)} if begins else {}))


After = Annotated[int, Query(ge=0, le=2**53)]


@router.get("/inbox")
def inbox(
    request: Request, visit: Reader, show: str = "open", model: str = "", after: After = 0, choose: str = "none"
) -> Response:
    """Show requests."""
    with visit.desk() as desk:
        return _page(request, visit, desk, Shown.of(show, model, after), chosen=choose == "all")


@router.post("/inbox")
def decide_many(
    request: Request,
    visit: Decider,
    show: str = "open",
    model: str = "",
    after: After = 0,
    action: Line = "",
    reason: Note = "",
    due: Line = "",
    chosen: Annotated[Sequence[str], Form(alias="request")] = (),
) -> Response:
    """Decide about every chosen request, each on its own: one that cannot be decided does not stop the others."""
    shown = Shown.of(show, model, after)
    with visit.desk() as desk:
        try:
            done, refused = _decide(desk, action, reason.strip(), due, chosen)
        except LedgerError as error:
            typed = refusal(error, action=action, reason=reason, due=due, chosen=chosen)
            return _page(request, visit, desk, shown, typed)
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
        query=shown.query(after=0),
    )


def _decide(
    desk: LocalDesk, action: str, reason: str, due: str, chosen: Sequence[str]
) -> tuple[list[Document], list[Document]]:
    """Decide as the form says; return the requests that were decided, and those that could not be."""
    if action not in {one.value for one in BULK}:
        raise UsageError("no decision was chosen", "choose one")
    if not chosen:
        raise UsageError("no request was chosen", "tick at least one")
    require_reason(reason)
    require_fitting_day(action, due)
    until = new_due_date(desk, due) if action == Action.EXTEND else None
    done: list[Document] = []
    refused: list[Document] = []
    for one in chosen[:MOST_CHOSEN]:
        text, _, revision = one.partition("@")
        if not text.isdecimal() or len(text) > 15:
            raise UsageError("this form is not one of ours", "go back to the inbox")
        number, expected = int(text), revision or None
        try:
            if until is not None:
                made = desk.requests.extend(number, until, reason, expected=expected)
            else:
                made = desk.requests.decide(number, Action(action), reason, expected=expected)
            done.append(made["request"])
        except LedgerError as error:
            refused.append({"id": number, "state": None, "message": error.message, "hint": error.hint})
    return done, refused


def _page(
    request: Request,
    visit: Visit,
    desk: LocalDesk,
    shown: Shown,
    refused: Refusal | None = None,
    *,
    chosen: bool = False,
) -> Response:
    models, found = desk.models.all()["items"], _found(desk, shown.show, shown.model, shown.after)
    items = found["items"]
    further = found["more"] and shown.show not in BY_DUE_DATE
    return render(
        request,
        "inbox.html.j2",
        caller=visit.caller,
        title="Inbox",
        section="/inbox",
        now=desk.ledger.clock(),
        status=status_after(refused),
        items=items,
        models=models,
        model=shown.model,
        show=shown.show,
        shows={key: name for key, (name, _) in SHOWS.items()},
        summary=_summary(shown.show, found, shown.after),
        query=shown.query(),
        first=shown.query(after=0) if shown.after else "",
        next=shown.query(after=items[-1]["id"]) if further else "",
        chosen=chosen,
        actions=[one.value for one in BULK],
        refused=refused,
        typed=typed_into(refused, action="", reason="", due="", chosen=()),
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
