"""``unledger evaluate`` and ``rollback``: evidence on versions, and the way back."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.documents.models import evaluation_document
from ledger.domain.command_lines import command
from ledger.domain.due import days_left
from ledger.domain.levels import EvidenceLevel
from ledger.errors import UsageError

from ..answers import answer
from ..evaluation_tables import print_evaluation
from ..live_exports import export_live
from ..options import DryRun, Executor, Json, ModelName, ModelReference, Reason, Yes
from ..render import PhaseProgress, advise, day, emit_table, moment, say
from ..session import confirm, session, split_reference

MOST_IMAGES = 10_000_000
LONGEST = 366 * 86_400
"""Seconds that an evaluator may be given."""


def evaluate(
    ctx: typer.Context,
    model: ModelReference,
    only: Annotated[
        list[str] | None, typer.Option("--evaluator", "-e", help="Only this evaluator; repeatable.")
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(
            min=1, max=4, help="Level of evidence to reach: 1 outputs, 2 membership, 3 features, 4 retrained."
        ),
    ] = None,
    against: Annotated[
        str, typer.Option(help="Also compare with a version number or a safetensors file; recorded beside the rest.")
    ] = "base",
    retrained: Annotated[
        Path | None,
        typer.Option(metavar="WEIGHTS", help="Weights trained without the forgotten classes, to compare with."),
    ] = None,
    declared_by: Annotated[
        str | None, typer.Option("--by", metavar="WHO", help="Who says that they were; default: you.")
    ] = None,
    train_per_class: Annotated[int, typer.Option(help="Training images per class to measure; 0 for all.")] = 200,
    time_limit: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Stop an evaluator after this time. Else evaluator_seconds in unledger.toml."
        ),
    ] = None,
    executor: Executor = None,
    json: Json = False,
) -> None:
    """Measure a version and record the evidence."""
    from ledger.service.evidence.evaluation import evaluate as measure
    from ledger.service.evidence.retrained import DeclaredRetrained

    name, number = split_reference(model)
    if level == EvidenceLevel.RETRAINED and retrained is None:
        raise UsageError("level 4 compares with a retrained network", "name its weights: --retrained FILE")
    if declared_by is not None and retrained is None:
        raise UsageError("--by says who declares weights as retrained, and none are named", "add --retrained FILE")
    if not 0 <= train_per_class <= MOST_IMAGES:
        raise UsageError(
            f"--train-per-class must be between 0 and {MOST_IMAGES}, not {train_per_class}", "0 measures all images"
        )
    if time_limit is not None and not 0 < time_limit <= LONGEST:
        raise UsageError(f"a time limit of {time_limit} s is not between 0 and {LONGEST} s", "e.g. --time-limit 600")
    with session(ctx).ledger(acts=True) as ledger, PhaseProgress() as progress:
        ledger.executor = executor
        result = measure(
            ledger,
            name,
            number,
            progress,
            only=only or (),
            level=None if level is None else EvidenceLevel(level),
            against=against,
            retrained=None
            if retrained is None
            else DeclaredRetrained(retrained, ledger.actor if declared_by is None else declared_by),
            train_per_class=train_per_class or None,
            time_limit=time_limit,
        )
    if json:
        answer(ctx, evaluation_document(result))
        return
    print_evaluation(result, name)


def rollback(
    ctx: typer.Context,
    model: ModelName,
    to: Annotated[int, typer.Option(help="The version whose weights shall be live again.")],
    reason: Reason = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Make an earlier version's weights live again, as a new version, and reopen what that undoes."""
    with session(ctx).desk(acts=not dry_run) as desk:
        plan = desk.versions.plan_rollback(model, to)
        say(f"version {to} of {model} forgets: {', '.join(plan['forgets']) or 'nothing'}")
        say(f"known again after this: {', '.join(plan['known_again']) or 'nothing'}")
        reopened = plan["reopened"]
        if reopened and not json:
            now = moment(plan["now"])
            emit_table(
                ["#id", "~classes", "due", "#days left"],
                (
                    (r["id"], ", ".join(r["classes"]), day(r["due_at"]), days_left(moment(r["due_at"]), now))
                    for r in reopened
                ),
                title="requests this would reopen" if dry_run else "requests this reopens",
            )
        if dry_run:
            if json:
                answer(ctx, plan)
            return
        confirm(f"Roll {model} back to version {to}?", yes=yes)
        done = desk.versions.roll_back(model, to, plan["confirmation"], reason)
    if json:
        answer(ctx, done)
    export_live(ctx)
    say(f"version {done['version']} of {model} is live, with the weights of version {to}")
    if reopened:
        advise("next:", f"{command('request', 'retry', reopened[0]['id'])}  (or deny, or withdraw)")
