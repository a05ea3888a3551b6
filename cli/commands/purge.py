"""``unledger purge``: close a model's rollback window."""

from typing import Annotated

import typer

from ledger.domain.command_lines import command
from ledger.domain.typed_dates import parse_age

from ..answers import answer
from ..live_exports import export_live
from ..options import DryRun, Json, ModelName, Yes
from ..render import PhaseProgress, advise, emit_table, say
from ..session import confirm, session


def purge(
    ctx: typer.Context,
    model: ModelName,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Keep what was live since then: 30d, 12h, 4w.")
    ] = "30d",
    dry_run: DryRun = False,
    clock_is_right: Annotated[
        bool, typer.Option("--clock-is-right", help="Go on although the ledger doubts the clock.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Destroy superseded weights and what was collected of forgotten classes, for good."""
    from ledger.service.upkeep.purge import require_clock

    age = parse_age(older_than)
    progress = PhaseProgress()
    with session(ctx).desk(acts=not dry_run, progress=progress) as desk:
        plan = desk.versions.plan_purge(model, age)
        numbers = plan["purged"]
        say(f"oldest version of {model} that stays: {plan['anchor']}")
        gone = ", ".join(f"version {n}" for n in numbers) or "none"
        say(f"weights that go: {gone}; class spaces: {plan['class_spaces']}")
        if plan["final"] and not json:
            emit_table(
                ["#id", "~classes"],
                ((r["id"], ", ".join(r["classes"])) for r in plan["final"]),
                title="requests that can be withdrawn no more",
            )
        if dry_run:
            if plan["clock_doubt"]:
                say(("warning:", "yellow"), f" the clock may be wrong: {plan['clock_doubt']}")
            if json:
                answer(ctx, plan)
            return
        if not clock_is_right and numbers:
            require_clock(plan["clock_doubt"])
        if numbers:
            confirm(f"Destroy {len(numbers)} versions of {model} for good?", yes=yes)
        with progress:
            done = desk.versions.purge(model, age, plan["confirmation"], clock_is_right=clock_is_right)
    if json:
        answer(ctx, done)
    export_live(ctx)
    destroyed = done["destroyed"]
    advise(f"destroyed {len(destroyed)} objects; the history of {model} still verifies:", command("audit", "verify"))
