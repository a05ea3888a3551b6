"""Requests and their deadlines as rows of a table, each with a small bar chart."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from ledger.domain.requests import Request
from ledger.domain.states import RequestState
from ledger.report.data.model_report import ModelReport
from ledger.report.data.tables import Table

from .svg import box, diamond, line, picture, plain
from .words import day, due_in, minute

WIDTH, HEIGHT = 120.0, 14.0
"""Of a bar, in pixels."""
STATE_NAMES = {
    RequestState.AWAITING_APPROVAL: "awaits approval",
    RequestState.ON_HOLD: "on hold",
}


@dataclass(frozen=True)
class Deadline:
    """One row of the table of requests."""

    id: int
    classes: tuple[str, ...]
    state: str
    received: str
    due: str
    left: str
    """Time left; empty for a closed request."""
    overdue: bool
    reopened: bool
    outcome: str
    version: int | None
    bar: Markup


@dataclass(frozen=True)
class Deadlines:
    """Some rows of the table of requests, the first ones."""

    rows: tuple[Deadline, ...]
    count: int
    """Requests that there are, those without a row included."""
    reopened: int
    """Those of them that a rollback reopened."""

    @property
    def left_out(self) -> int:
        """Requests without a row."""
        return self.count - len(self.rows)


def deadlines(report: ModelReport, most: int) -> tuple[Deadlines, Deadlines]:
    """Return open requests (reopened ones first, then by due date) and closed ones (newest first).

    Args:
        report: The report.
        most: Rows to return of either.
    """
    waiting = sorted(report.open_requests, key=lambda r: r.state is not RequestState.REOPENED)
    closed = [request for request in reversed(report.requests) if not request.is_open]
    return _deadlines(report, waiting, most), _deadlines(report, closed, most)


def deadlines_table(report: ModelReport) -> Table:
    """Return all requests for a file, by number."""
    rows = tuple(
        (
            request.id,
            ", ".join(report.model.labels.names(request.classes)),
            STATE_NAMES.get(request.state, request.state.value),
            minute(report.local(request.received_at)),
            day(request.due_at),
            report.days_left(request) if request.is_open else None,
            request.version,
        )
        for request in sorted(report.requests, key=lambda request: request.id)
    )
    columns = ("request", "classes", "state", "received", "due", "days_left", "version")
    return Table("requests", columns, rows)


def _deadlines(report: ModelReport, requests: Sequence[Request], most: int) -> Deadlines:
    rows = tuple(_deadline(report, request) for request in requests[:most])
    return Deadlines(rows, len(requests), sum(request.state is RequestState.REOPENED for request in requests))


def _deadline(report: ModelReport, request: Request) -> Deadline:
    late = request.is_open and request.due_at < report.now
    left = due_in(report.days_left(request)) if request.is_open else ""
    return Deadline(
        id=request.id,
        classes=report.model.labels.names(request.classes),
        state=STATE_NAMES.get(request.state, request.state.value),
        received=day(request.received_at),
        due=day(request.due_at),
        left=left,
        overdue=late,
        reopened=request.state is RequestState.REOPENED,
        outcome=_outcome(request),
        version=request.version,
        bar=bar(f"request-{request.id}-bar", request, report.now),
    )


def _outcome(request: Request) -> str:
    told = [plain(request.outcome).strip()]
    if request.gates_waived:
        told.append("quality gates waived")
    return "; ".join(part for part in told if part)


def bar(uid: str, request: Request, now: datetime) -> Markup:
    """Draw the time from received to due as a bar, filled for the days that have passed or that the request took.

    Args:
        uid: Unique on the page.
        request: The request.
        now: The time of the report.
    """
    until = now if request.is_open else request.updated_at
    # In whole days, so that a report made an hour later looks the same.
    allowed = max(1, (request.due_at - request.received_at).days)
    taken = max(0, (until - request.received_at).days)
    late = until > request.due_at
    longest = max(allowed, min(taken, 2 * allowed))
    unit = (WIDTH - 12) / longest
    due, end = 4 + unit * allowed, 4 + unit * min(taken, longest)
    parts = [box(4, 5, due - 4, 4, "track"), box(4, 5, min(end, due) - 4, 4, "spent")]
    if late:
        parts.append(box(due, 4, end - due, 6, "late"))
    parts.append(line(due, 1, due, HEIGHT - 1, "due-line"))
    if not request.is_open:
        parts.append(diamond(end, 7, 4, "mark-after"))
    verb = "waits" if request.is_open else "took"
    told = f"Request {request.id} {verb} {taken} of {allowed} days" + (", past its due date." if late else ".")
    return picture(uid, WIDTH, HEIGHT, f"Deadline of request {request.id}", told, *parts)
