"""``unledger preview``, ``forget`` and ``request``: file requests and decide about them."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.documents import requests as documents
from ledger.documents.document import text as document_text
from ledger.domain.command_lines import command
from ledger.domain.due import days_left
from ledger.domain.events.event import EventKind
from ledger.domain.labels import LabelMap
from ledger.domain.states import Action, RequestState
from ledger.errors import LedgerError, UsageError
from ledger.garbage_collection import paused
from ledger.named_files import read_text

from ..answers import answer
from ..dates import parse_date
from ..options import (
    Classes,
    Force,
    Indices,
    Json,
    ModelName,
    OptionalModel,
    Reason,
    RequestNumber,
    Solvers,
    Waive,
    WaiveGates,
    Yes,
)
from ..output import emit_file, require_free
from ..preview_table import print_preview
from ..render import PhaseProgress, advise, day, emit_table, say
from ..request_files import read_requests
from ..session import confirm, session
from .worker import drain_queue

if TYPE_CHECKING:
    from ledger.domain.requests import Request
    from ledger.domain.versions import Version
    from ledger.service.ledger import Ledger
    from ledger.service.requests.claim_end import Outcome
    from ledger.service.requests.filing import Receipt

MOST_LISTED = 100
"""Rows that ``request list`` shows unless it is told how many."""
PLACEHOLDER = "REASON"
"""What hints write where a person has to say why."""
app = typer.Typer(no_args_is_help=True, help="Look at requests and decide about them.")


def preview(
    ctx: typer.Context,
    model: ModelName,
    classes: Classes = None,
    index: Indices = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Keep it in a new file, for forget --preview."),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show what forgetting some classes would cost. Nothing is written into the ledger."""
    from ledger.service.requests.preview import preview as compute

    named = _named(classes, index)
    if not named:
        raise UsageError("name at least one class", "e.g. -c cat -c dog")
    require_free(ctx, output, force=force)
    with session(ctx).ledger() as ledger, PhaseProgress() as progress:
        result = compute(ledger, model, tuple(named), progress)
    labels = result.model.labels
    _say_which(labels, named)
    if output is not None:
        emit_file(ctx, document_text(documents.preview_document(result)).encode(), output, force=force)
    if json:
        answer(ctx, documents.preview_document(result))
        return
    print_preview(result)
    words = [word for text in named for word in ("-c", text)]
    bound = [] if output is None else ["--preview", output]
    advise("next:", command("forget", model, *words, *bound))


def forget(
    ctx: typer.Context,
    model: ModelName,
    classes: Classes = None,
    index: Indices = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", "-f", help="Many requests, one a line: classes with commas between, or a JSON object. - is stdin."
        ),
    ] = None,
    reason: Reason = "",
    basis: Annotated[str, typer.Option(help="Legal basis or ground, e.g. gdpr-17, licence, safety, quality.")] = "",
    received_at: Annotated[
        str | None, typer.Option(metavar="DATE", help="When it was received, e.g. 2026-03-31, yesterday. Default: now.")
    ] = None,
    due: Annotated[
        str | None, typer.Option(metavar="DATE", help="E.g. 2026-04-30, +30d. Default: one month after receipt.")
    ] = None,
    external_id: Annotated[str, typer.Option(help="Its number in another system.")] = "",
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key files the request once, however often it is sent.")
    ] = None,
    previewed: Annotated[
        Path | None,
        typer.Option("--preview", metavar="FILE", help="Bind it to what preview -o FILE showed: see if that held."),
    ] = None,
    needs_approval: Annotated[bool, typer.Option(help="Wait for request approve before any work.")] = False,
    wait: Annotated[bool, typer.Option(help="Carry out the model's queue here and now.")] = False,
    json: Json = False,
) -> None:
    """File one request for one or several classes, or many requests from a file."""
    from ledger.domain.requests import NewRequest
    from ledger.service.models.lookup import get_model
    from ledger.service.requests.filing import enqueue
    from ledger.service.requests.foretelling import read_preview

    named = _named(classes, index)
    if bool(named) == (file is not None):
        raise UsageError("name classes with -c, or a file of requests with -f", "one of the two")
    if previewed is not None and file is not None:
        raise UsageError("a preview belongs to one request", "name its classes with -c")
    who = session(ctx).who
    with session(ctx).ledger(acts=True) as ledger:
        date = partial(parse_date, now=ledger.clock(), zone=ledger.config.zone)
        owner = get_model(ledger, model)
        labels = owner.labels
        if file is not None:
            filed = read_requests(file, labels, who, ledger.clock(), ledger.config.zone)
        else:
            filed = [
                NewRequest(
                    classes=labels.resolve_all(named),
                    actor=who,
                    reason=reason,
                    basis=basis,
                    external_id=external_id,
                    received_at=None if received_at is None else date(received_at, begins=True),
                    due_at=None if due is None else date(due),
                    idempotency_key=idempotency_key,
                    preview=None if previewed is None else read_preview(read_text(previewed), str(previewed)),
                )
            ]
        _say_which(labels, named)
        receipts = enqueue(ledger, model, filed, approval=needs_approval)
        now = ledger.clock()
        if not json:
            _table(((model, labels, r.request) for r in receipts), now)
        _say_what_needs_no_work(receipts)
        queued = any(r.request.state is RequestState.QUEUED for r in receipts)
        outcomes: list[Outcome] = []
        failures: list[LedgerError] = []
        try:
            if wait and queued:
                failures = drain_queue(ledger, model, outcomes.append)
            elif queued:
                advise("next:", command("work", "--drain"))
        finally:
            # Requests that were filed are reported whatever becomes of the work.
            if json:
                answer(ctx, documents.receipts_document(receipts, owner, now, outcomes if wait else None))
        if failures:
            raise failures[0]


def _named(classes: list[str] | None, index: list[int] | None) -> list[str]:
    """Return the classes that options name, indices with their prefix."""
    return [*(classes or ()), *(f"index:{number}" for number in index or ())]


def _say_which(labels: LabelMap, named: "Sequence[str]") -> None:
    """Say which classes numbers were taken for."""
    for text in dict.fromkeys(named):
        which = labels.ambiguity(text)
        if which:
            say(f"{text} is {which}")


def _say_what_needs_no_work(receipts: "Sequence[Receipt]") -> None:
    for receipt in receipts:
        if receipt.repeated:
            say(f"request {receipt.request.id} was filed before under this key; nothing was added")
        elif receipt.request.no_op:
            say(f"request {receipt.request.id}: {receipt.request.outcome}; nothing to do")


@app.command("list")
def list_(
    ctx: typer.Context,
    model: OptionalModel = None,
    state: Annotated[list[RequestState] | None, typer.Option(help="Only these states; repeatable.")] = None,
    after: Annotated[int, typer.Option(help="Only requests with a higher number.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"How many at most. Default: {MOST_LISTED}; with --json, all.")
    ] = None,
    json: Json = False,
) -> None:
    """List requests in the order they were filed."""
    from ledger.service.requests.listing import count_requests, list_requests

    if limit is None and not json:
        limit = MOST_LISTED
    with session(ctx).ledger() as ledger:
        found = list_requests(ledger, model, state, after=after, limit=limit)
        last = found[-1][1].id if found else after
        more = count_requests(ledger, model, state, after=last) if len(found) == limit else 0
        now = ledger.clock()
    if json:
        with paused():
            answer(ctx, documents.requests_document(found, now))
    else:
        _table(((m.name, m.labels, r) for m, r in found), now)
    if more:
        say(f"{more:,} more: --after {last} lists the next ones, --limit says how many")


@app.command()
def show(ctx: typer.Context, request: RequestNumber, json: Json = False) -> None:
    """Show one request and everything that happened to it."""
    from ledger.service.requests.listing import request_history

    with session(ctx).ledger() as ledger:
        found = request_history(ledger, request)
        now = ledger.clock()
    if json:
        answer(ctx, documents.request_document(found, now))
        return
    body, events = documents.history_part(found, now), found.events
    for name in ("classes", "missed_gates", "solvers"):
        body[name] = ", ".join(body[name] or ())
    emit_table(["", "~"], ((k.replace("_", " "), v) for k, v in body.items() if v not in (None, "", False)))
    emit_table(["#seq", "when", "event", "who", "~note"], ((e.seq, e.at, e.kind, e.actor, e.note) for e in events))
    for event in events:
        if event.kind == EventKind.REQUEST_RECEIVED and event.data.get("preview"):
            say(f"bound to preview {event.data['preview']}")
        if event.kind == EventKind.REQUEST_FULFILLED and event.data.get("preview"):
            say(f"compared with the preview, the result is: {event.data['preview']}")


def _decision(action: Action, doc: str) -> None:
    """Add the command of an action that only changes a request's state."""

    def command(ctx: typer.Context, request: RequestNumber, reason: Reason = "", json: Json = False) -> None:
        from ledger.service.requests.decisions import decide

        with session(ctx).ledger(acts=True) as ledger:
            done = decide(ledger, request, action, reason)
            if json:
                _answer_decision(ctx, ledger, action, done)
        say(f"request {request} is {done.state.value}")

    command.__doc__ = doc
    app.command(action.value)(command)


_decision(Action.APPROVE, "Approve a request that waits for it.")
_decision(Action.DENY, "Turn a request down.")
_decision(Action.CANCEL, "Cancel a request that is no longer wanted.")
_decision(Action.HOLD, "Take a request out of the queue for a while.")


@app.command()
def release(
    ctx: typer.Context,
    request: RequestNumber,
    reason: Reason = "",
    force: Annotated[
        bool, typer.Option("--force", help="Take a running request from the worker that holds it; needs --reason.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Put a held request back in the queue."""
    from ledger.service.requests.decisions import decide
    from ledger.service.requests.leases import break_lease, show_lease

    with session(ctx).ledger(acts=True) as ledger:
        lease = show_lease(ledger, request) if force else None
        if lease is None:
            done = decide(ledger, request, Action.RELEASE, reason)
        else:
            if not reason:
                raise UsageError("--force needs a reason", "say with --reason why the lease is broken")
            say(("warning:", "yellow"), f" {lease}; if that worker is alive, what it computed is lost")
            confirm(f"Take request {request} from {lease.owner}?", yes=yes)
            done = break_lease(ledger, request, reason)
        if json:
            _answer_decision(ctx, ledger, Action.RELEASE, done)
    say(f"request {request} is {done.state.value}")


@app.command()
def retry(
    ctx: typer.Context,
    request: RequestNumber,
    reason: Reason = "",
    solver: Solvers = None,
    waive: Waive = None,
    waive_gates: WaiveGates = False,
    json: Json = False,
) -> None:
    """Queue a failed, blocked, quarantined or reopened request again."""
    from ledger.service.requests.decisions import decide

    why, waived = _waiver(reason, waive, waive_gates=waive_gates)
    with session(ctx).ledger(acts=True) as ledger:
        done = decide(ledger, request, Action.RETRY, why, waive_gates=waived, solvers=solver or ())
        if json:
            _answer_decision(ctx, ledger, Action.RETRY, done)
    say(f"request {request} is {done.state.value}")
    advise("next:", command("work", "--drain"))


@app.command()
def withdraw(
    ctx: typer.Context,
    request: RequestNumber,
    reason: Reason = "",
    solver: Solvers = None,
    waive: Waive = None,
    waive_gates: WaiveGates = False,
    json: Json = False,
) -> None:
    """Withdraw a fulfilled request: the model gets back what only it made it forget."""
    from ledger.service.requests.listing import show_request
    from ledger.service.requests.withdrawal import withdraw as take_back

    why, waived = _waiver(reason, waive, waive_gates=waive_gates)
    with session(ctx).ledger(acts=True) as ledger, PhaseProgress() as progress:
        done, version = take_back(ledger, request, why, progress, waive_gates=waived, solvers=solver or ())
        owner, _ = show_request(ledger, request)
        if json:
            _answer_decision(ctx, ledger, Action.WITHDRAW, done, version)
    say(f"request {request} is {done.state.value}" + (f"; version {version.number} is live" if version else ""))
    if version is not None:
        advise("next:", command("evaluate", owner.name))


def _waiver(reason: str, waive: str | None, *, waive_gates: bool) -> tuple[str, bool]:
    """Return the reason of a decision, and whether it waives quality gates."""
    if waive is None:
        return reason, waive_gates
    if not waive.strip():
        raise UsageError("--waive needs a reason", "say why the result is good enough as it is")
    if waive.strip() == PLACEHOLDER:  # a hint pasted as it stands: gates would be waived for nobody's reason, on record
        raise UsageError(
            f"--waive {PLACEHOLDER} is no reason", f"put in place of {PLACEHOLDER} why the result is good enough"
        )
    if reason and reason != waive:
        raise UsageError("--waive and --reason give two reasons", "one of the two is enough")
    return waive, True


def _answer_decision(
    ctx: typer.Context, ledger: "Ledger", action: Action, done: "Request", made: "Version | None" = None
) -> None:
    from ledger.service.requests.listing import show_request

    owner, _ = show_request(ledger, done.id)
    answer(ctx, documents.decision_document(action, done, owner, ledger.clock(), made))


def _table(rows: Any, now: datetime) -> None:
    def due(request: "Request") -> str:
        return f"{day(request.due_at)} ({days_left(request.due_at, now)} d)" if request.is_open else ""

    emit_table(
        ["#id", "model", "~classes", "state", "due", "#ver", "~outcome"],
        (
            (r.id, name, ", ".join(labels.names(r.classes)), r.state.value, due(r), r.version, r.outcome)
            for name, labels, r in rows
        ),
    )
