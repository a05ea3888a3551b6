"""``unledger preview``, ``forget`` and ``request``: file requests and decide about them."""

import json as json_module
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ledger import installation
from ledger.desk.asked import FiledRequest
from ledger.documents import requests as documents
from ledger.documents.document import Document
from ledger.documents.document import text as document_text
from ledger.documents.jobs import is_withdrawal_job
from ledger.domain.command_lines import command
from ledger.domain.events.event import EventKind
from ledger.domain.labels import LabelMap
from ledger.domain.states import Action, RequestState
from ledger.domain.typed_dates import parse_date
from ledger.errors import LedgerError, UsageError
from ledger.garbage_collection import paused
from ledger.named_files import read_text

from ..answers import answer
from ..bulk_requests import bulk_text, show_check
from ..live_exports import export_live
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
from ..remote_jobs import await_job
from ..render import PhaseProgress, advise, day, emit_table, minute, say
from ..session import confirm, session
from ..suggestions import is_afar
from .worker import drain_queue

MOST_LISTED = 100
"""Rows that ``request list`` shows unless it is told how many."""
UNSHOWN = {"schema", "model_id", "revision", "events"}
"""Members of a request's document that its table leaves out; the events have a table of their own."""
MOMENTS = ("received_at", "due_at", "created_at", "updated_at")
PLACEHOLDER = "REASON"
"""What hints write where a person has to say why."""
WORKER_THERE = "a worker on the ledger's machine carries it out"
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
    named = _named(classes, index)
    if not named:
        raise UsageError("name at least one class", "e.g. -c cat -c dog")
    require_free(ctx, output, force=force)
    if session(ctx).server is None:
        labels, result = _computed_preview(ctx, model, named)
    else:
        with session(ctx).desk() as desk:
            labels = LabelMap(tuple(desk.models.labels(model)))
            job = desk.previews.ask(model, _indices(labels, named))
            result = await_job(job, desk.previews.show, "preview", "a worker computes it; Ctrl-C ends the wait")
    _say_which(labels, named)
    if output is not None:
        emit_file(ctx, document_text(result).encode(), output, force=force)
    if json:
        answer(ctx, result)
        return
    print_preview(result)
    words = [word for text in named for word in ("-c", text)]
    bound = [] if output is None else ["--preview", output]
    advise("next:", command("forget", model, *words, *bound))


def _computed_preview(ctx: typer.Context, model: str, named: Sequence[str]) -> tuple[LabelMap, Document]:
    """Compute a preview here; return the labels of the model, and the preview's document."""
    from ledger.service.requests.preview import preview as compute

    with session(ctx).ledger() as ledger, PhaseProgress() as progress:
        found = compute(ledger, model, tuple(named), progress)
    return found.model.labels, documents.preview_document(found)


def forget(
    ctx: typer.Context,
    model: ModelName,
    classes: Classes = None,
    index: Indices = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            help="Many requests: a CSV table, JSON Lines, or lines of classes with commas between. - is stdin.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="[csv|jsonl|lines]", help="Of the file. Default: by its name and first line."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="File nothing; name every line of the file that is bad, and why.")
    ] = False,
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
    named = _named(classes, index)
    _require_one_source(named, file, previewed, about_file=dry_run or form is not None)
    if dry_run:
        _check_file(ctx, model, str(file), form, needs_approval=needs_approval, json=json)
        return
    if wait and session(ctx).server is not None:
        raise UsageError("--wait carries requests out, which takes images", "a worker on the ledger's machine does it")
    if wait:
        installation.require("engine", "carrying out requests")
    text = None if file is None else bulk_text(file)
    with session(ctx).desk(acts=True) as desk:
        if text is not None:
            receipts = desk.requests.file_bulk(model, text, form=form, name=str(file), needs_approval=needs_approval)
        else:
            date = partial(parse_date, now=session(ctx).now(desk), zone=session(ctx).zone)
            labels = LabelMap(tuple(desk.models.labels(model)))
            one = FiledRequest(
                classes=_indices(labels, named),
                reason=reason,
                basis=basis,
                external_id=external_id,
                received_at=None if received_at is None else date(received_at, begins=True),
                due_at=None if due is None else date(due),
                idempotency_key=idempotency_key,
                preview=None if previewed is None else _read_preview(previewed),
            )
            _say_which(labels, named)
            receipts = desk.requests.file(model, [one], needs_approval=needs_approval)
        _go_on(ctx, model, receipts, wait=wait, json=json)


def _require_one_source(named: list[str], file: str | None, previewed: Path | None, *, about_file: bool) -> None:
    """Refuse options that contradict each other."""
    if bool(named) == (file is not None):
        raise UsageError("name classes with -c, or a file of requests with -f", "one of the two")
    if previewed is not None and file is not None:
        raise UsageError("a preview belongs to one request", "name its classes with -c")
    if file is None and about_file:
        raise UsageError("--dry-run and --format are about a file of requests", "name it with -f; see also: preview")


def _check_file(
    ctx: typer.Context, model: str, file: str, form: str | None, *, needs_approval: bool, json: bool
) -> None:
    """Say what is wrong with each line of a file of requests."""
    text = bulk_text(file)
    with session(ctx).desk() as desk:
        check = desk.requests.check_bulk(model, text, form=form, name=file, needs_approval=needs_approval)
    show_check(ctx, check, file, json=json)


def _go_on(ctx: typer.Context, model: str, receipts: Document, *, wait: bool, json: bool) -> None:
    """Show the requests that were filed, and carry them out if that is waited for."""
    if not json:
        _table(receipts["items"])
    _say_what_needs_no_work(receipts["items"])
    queued = any(receipt["state"] == RequestState.QUEUED for receipt in receipts["items"])
    outcomes: list[Document] = []
    failures: list[LedgerError] = []
    try:
        if wait and queued:
            ledger = session(ctx).opened[-1]
            failures = drain_queue(
                ledger, model, lambda one: outcomes.append(documents.outcome_part(one, ledger.clock()))
            )
        elif queued:
            advise("next:", WORKER_THERE if is_afar() else command("work", "--drain"))
    finally:
        # Requests that were filed are reported whatever becomes of the work.
        if json:
            answer(ctx, {**receipts, "outcomes": outcomes} if wait else receipts)
    if failures:
        raise failures[0]


def _read_preview(path: Path) -> Document:
    """Return the document of a preview, once it is clear that it is one."""
    from ledger.service.requests.foretelling import read_preview

    text = read_text(path)
    read_preview(text, str(path))
    found: Document = json_module.loads(text)
    return found


def _named(classes: list[str] | None, index: list[int] | None) -> list[str]:
    """Return the classes that options name, indices with their prefix."""
    return [*(classes or ()), *(f"index:{number}" for number in index or ())]


def _indices(labels: LabelMap, named: Sequence[str]) -> list[str]:
    """Return classes by their indices, which nobody can take for another class."""
    return [f"index:{k}" for k in sorted(labels.resolve_all(named))]


def _say_which(labels: LabelMap, named: "Sequence[str]") -> None:
    """Say which classes numbers were taken for."""
    for text in dict.fromkeys(named):
        which = labels.ambiguity(text)
        if which:
            say(f"{text} is {which}")


def _say_what_needs_no_work(receipts: Sequence[Document]) -> None:
    for receipt in receipts:
        if receipt["repeated"]:
            say(f"request {receipt['id']} was filed before under this key; nothing was added")
        elif receipt["no_op"]:
            say(f"request {receipt['id']}: {receipt['outcome']}; nothing to do")


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
    if limit is None and not json:
        limit = MOST_LISTED
    with session(ctx).desk() as desk:
        found = desk.requests.all(model, state or (), after=after, limit=limit)
    if json:
        with paused():
            answer(ctx, found)
    else:
        _table(found["items"])
    if found["more"]:
        last = found["items"][-1]["id"] if found["items"] else after
        say(f"{found['more']:,} more: --after {last} lists the next ones, --limit says how many")


@app.command()
def show(ctx: typer.Context, request: RequestNumber, json: Json = False) -> None:
    """Show one request and everything that happened to it."""
    with session(ctx).desk() as desk:
        found = desk.requests.show(request)
    if json:
        answer(ctx, found)
        return
    events = found["events"]
    body = {name: value for name, value in found.items() if name not in UNSHOWN}
    for name in ("classes", "missed_gates", "solvers"):
        body[name] = ", ".join(body[name] or ())
    for name in MOMENTS:
        body[name] = minute(body[name])
    emit_table(["", "~"], ((k.replace("_", " "), v) for k, v in body.items() if v not in (None, "", False)))
    emit_table(
        ["#seq", "when", "event", "who", "~note"],
        ((e["seq"], minute(e["at"]), e["kind"], e["actor"], e["note"]) for e in events),
    )
    for event in events:
        preview = event["data"].get("preview")
        if preview and event["kind"] == EventKind.REQUEST_RECEIVED:
            say(f"bound to preview {preview}")
        if preview and event["kind"] == EventKind.REQUEST_FULFILLED:
            say(f"compared with the preview, the result is: {preview}")


def _decision(action: Action, doc: str) -> None:
    """Add the command of an action that only changes a request's state."""

    def command(ctx: typer.Context, request: RequestNumber, reason: Reason = "", json: Json = False) -> None:
        with session(ctx).desk(acts=True) as desk:
            done = desk.requests.decide(request, action, reason)
        if json:
            answer(ctx, done)
        say(_standing(done))

    command.__doc__ = doc
    app.command(action.value)(command)


_decision(Action.APPROVE, "Approve a request that waits for it.")
_decision(Action.DENY, "Turn a request down.")
_decision(Action.CANCEL, "Cancel a request that is no longer wanted.")
_decision(Action.HOLD, "Take a request out of the queue for a while.")


@app.command()
def extend(
    ctx: typer.Context,
    request: RequestNumber,
    due: Annotated[str, typer.Option(metavar="DATE", help="The new due date, e.g. 2026-04-30, or +60d from now.")],
    reason: Annotated[str, typer.Option(help="Why it takes longer; kept beside the audit history.")],
    json: Json = False,
) -> None:
    """Give an open request more time."""
    with session(ctx).desk(acts=True) as desk:
        date = parse_date(due, session(ctx).now(desk), session(ctx).zone)
        done = desk.requests.extend(request, date, reason)
    if json:
        answer(ctx, done)
    say(f"request {request} is due on {day(done['request']['due_at'])}, and {done['request']['state']}")


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
    with session(ctx).desk(acts=True) as desk:
        lease = desk.requests.lease(request)["lease"] if force else None
        if lease is None:
            done = desk.requests.decide(request, Action.RELEASE, reason)
        else:
            if not reason:
                raise UsageError("--force needs a reason", "say with --reason why the lease is broken")
            say(("warning:", "yellow"), f" {lease['told']}; if that worker is alive, what it computed is lost")
            confirm(f"Take request {request} from {lease['owner']}?", yes=yes)
            done = desk.requests.break_lease(request, reason)
    if json:
        answer(ctx, done)
    say(_standing(done))


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
    why, waived = _waiver(reason, waive, waive_gates=waive_gates)
    with session(ctx).desk(acts=True) as desk:
        done = desk.requests.decide(request, Action.RETRY, why, waive_gates=waived, solvers=solver or ())
    if json:
        answer(ctx, done)
    say(_standing(done))
    advise("next:", WORKER_THERE if is_afar() else command("work", "--drain"))


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
    why, waived = _waiver(reason, waive, waive_gates=waive_gates)
    with PhaseProgress() as progress, session(ctx).desk(acts=True, progress=progress) as desk:
        done = desk.requests.withdraw(request, why, waive_gates=waived, solvers=solver or ())
        if is_withdrawal_job(done):
            told = "a worker on the ledger's machine carries it out; Ctrl-C ends the wait, and not the withdrawal"
            done = await_job(done, desk.requests.withdrawal, "decision", told)
    if json:
        answer(ctx, done)
    version = done["version"]
    if version:
        export_live(ctx)
    say(_standing(done) + (f"; version {version['version']} is live" if version else ""))
    if version:
        advise("next:", command("evaluate", done["request"]["model"]))


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


def _standing(decision: Document) -> str:
    """Say where a request stands after a decision."""
    return f"request {decision['request']['id']} is {decision['request']['state']}"


def _table(rows: Sequence[Document]) -> None:
    def due(request: Document) -> str:
        left = request["days_left"]
        return "" if left is None else f"{day(request['due_at'])} ({left} d)"

    emit_table(
        ["#id", "model", "~classes", "state", "due", "#ver", "~outcome"],
        ((r["id"], r["model"], ", ".join(r["classes"]), r["state"], due(r), r["version"], r["outcome"]) for r in rows),
    )
