"""``unledger work`` and ``status``: carry requests out, and see what waits."""

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.domain.due import days_left
from ledger.errors import OverdueError, UsageError

from . import documents
from .completion import model_names
from .people import session
from .render import PhaseProgress, emit_json, emit_table, say
from .setup import Json

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

OptionalModel = Annotated[
    str | None, typer.Argument(metavar="[MODEL]", autocompletion=model_names, help="Only this model.")
]


def work(
    ctx: typer.Context,
    model: OptionalModel = None,
    once: Annotated[bool, typer.Option("--once", help="Carry out at most one request.")] = False,
    drain: Annotated[
        bool, typer.Option("--drain", help="Carry out requests until none is left (the default).")
    ] = False,
) -> None:
    """Carry out queued requests."""
    if once and drain:
        raise UsageError("--once and --drain exclude each other")
    with session(ctx).ledger() as ledger:
        carry_out(ledger, model, once=once)


def carry_out(ledger: "Ledger", model: str | None, *, once: bool = False) -> None:
    """Work the queue off and say what became of each request; the first error decides the exit code."""
    from ledger.service.worker import work as work_off

    failures = []
    done = 0
    with PhaseProgress() as progress:
        for outcome in work_off(ledger, progress, model_name=model):
            progress.end()
            done += 1
            labels = ", ".join(outcome.model.labels.names(outcome.request.classes))
            what = f"request {outcome.request.id} ({outcome.model.name}: {labels})"
            if outcome.error is not None:
                failures.append(outcome.error)
                say(f"{what} is ", (outcome.request.state.value, "red"), f": {outcome.error.message}")
            elif outcome.version is None:
                say(f"{what} is fulfilled: already forgotten in version {outcome.request.version}")
            else:
                recipe = outcome.version.recipe
                say(
                    f"{what} is ",
                    ("fulfilled", "green"),
                    f" by version {outcome.version.number} "
                    f"({recipe['solver']} of the last {recipe['depth']} of {recipe['layers']} layers, "
                    f"alpha_r {recipe['alpha_r']:g}, alpha_f {recipe['alpha_f']:g})",
                )
            if once:
                break
    if not done:
        say("nothing to do")
    if failures:
        raise failures[0]


def status(
    ctx: typer.Context,
    model: OptionalModel = None,
    overdue: Annotated[
        bool, typer.Option("--overdue", help="Show only what is late; exit with 8 if anything is.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what is live, what is open and what is late."""
    from ledger.service.status import status as look

    with session(ctx).ledger() as ledger:
        found = look(ledger, model)
    shown = [(s, s.overdue if overdue else s.open) for s in found.models]
    if json:
        body = {
            "now": found.now,
            "models": [
                {
                    **documents.model(s.model, s.live),
                    "requests": {state.value: count for state, count in s.states.items()},
                    "open": [documents.request(r, s.model, found.now) for r in requests],
                    "overdue": [r.id for r in s.overdue],
                }
                for s, requests in shown
            ],
        }
        emit_json(documents.document("status", body))
    else:
        emit_table(
            ["model", "#live", "~forgotten", "#open", "#overdue"],
            (
                (
                    s.model.name,
                    s.live.number,
                    ", ".join(s.model.labels.names(s.live.forgotten)) or "-",
                    len(s.open),
                    len(s.overdue),
                )
                for s in (status for status, _ in shown)
            ),
        )
        rows = [
            (
                r.id,
                s.model.name,
                ", ".join(s.model.labels.names(r.classes)),
                r.state.value,
                f"{r.due_at:%Y-%m-%d}",
                days_left(r.due_at, found.now),
            )
            for s, requests in shown
            for r in sorted(requests, key=lambda r: (r.due_at, r.id))
        ]
        if rows:
            emit_table(["#id", "model", "~classes", "state", "due", "#days left"], rows, title="open requests")
    if overdue and found.overdue:
        raise OverdueError(f"{len(found.overdue)} requests are past their due dates", "carry them out or deny them")
