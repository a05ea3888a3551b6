"""``unledger recover``: go on with an older database when the newer one is lost."""

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.documents.recovery import recovery_document
from ledger.domain.command_lines import command

from ..answers import answer
from ..options import DryRun, Json, Yes
from ..render import advise, say
from ..session import confirm, session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger.service.upkeep.recovery import RecoveryPlan


def recover(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="Why, kept as a note beside the audit log.")] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Go on with an older database: show what would come back, and file or queue again what was promised."""
    from ledger.service.upkeep.recovery import plan_recovery
    from ledger.service.upkeep.recovery import recover as go_on

    with session(ctx).ledger(warn=False) as ledger:
        plan = plan_recovery(ledger)
        _show(plan)
        done = None
        if plan.lost is not None and not dry_run:
            confirm("Go on with this database, and give up the lost entries for good?", yes=yes)
            done = go_on(ledger, plan, reason)
    if json:
        answer(ctx, recovery_document(plan, done))
    if done is None:
        if plan.lost is not None:
            advise("next:", f"put the newer database back, or go on with this one: {command('recover')}")
        return
    for request in done.filed:
        say(f"filed as request {request.id} ({request.state}), due {request.due_at:%Y-%m-%d}: {request.reason}")
    for one, error in done.refused:
        said = f"request {one.number}" if hasattr(one, "number") else "the other classes"
        say(("warning:", "bold yellow"), f" {said} of {one.model} could not be filed again: {error.message}")
    say("recovered: work is allowed again")
    advise("next:", command("work"))


def _show(plan: "RecoveryPlan") -> None:
    lost = plan.lost
    if lost is None:
        say(f"this database is the newest one that is known of: {plan.size} entries, nothing to recover")
        return
    say(f"this database has {plan.size} entries; the lost one had {lost.checkpoint.size} that were signed")
    if not lost.states:
        say("no note of what was forgotten then was found: compare with your own records before you go on")
    elif lost.since > plan.size:
        say(f"of the requests, only those are known that something happened to after entry {lost.since}")
    for line in (*_coming_back(plan), *_left_to_people(plan)):
        say(line)


def _coming_back(plan: "RecoveryPlan") -> "Iterator[str]":
    for model, labels in plan.returning:
        yield f"{model} knows again what was forgotten: {', '.join(labels)}"
    for note in plan.filed_again:
        yield f"request {note.number} ({note.state}, due {note.due_at:%Y-%m-%d}) is not here: it will be filed again"
    for one in plan.unnamed:
        yield f"{len(one.classes)} classes of {one.model} that no request here asks for will be filed again"
    for number in plan.queued_again:
        yield f"request {number} will be queued again"


def _left_to_people(plan: "RecoveryPlan") -> "Iterator[str]":
    for number in plan.held:
        yield f"request {number} waits here, but was given up since: it will be put on hold, decide about it again"
    for number in plan.withdrawn:
        yield f"request {number} is fulfilled here, but was withdrawn or reopened since: decide about it again"
    for name in plan.lost_models:
        yield f"model {name} is not here: register it again"
    for name in plan.lost_weights:
        yield f"weights of {name} were purged since: its requests can only be carried out with a newer database"
