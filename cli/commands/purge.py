"""``unledger purge``: close a model's rollback window."""

import re
from datetime import timedelta
from typing import Annotated

import typer

from ledger.errors import UsageError

from .. import documents
from ..render import PhaseProgress, emit_json, emit_table, say
from ..session import confirm, session
from .models import Name
from .setup import Json

_AGE = re.compile("([0-9]{1,5})([dhw]?)")
_UNITS = {"": "days", "d": "days", "h": "hours", "w": "weeks"}


def parse_age(text: str) -> timedelta:
    """Read ``30d``, ``12h``, ``4w``, or a number of days.

    Raises:
        UsageError: The text has another form.
    """
    found = _AGE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no age", "write for example 30d, 12h or 4w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def purge(
    ctx: typer.Context,
    model: Name,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Keep what was live since then: 30d, 12h, 4w.")
    ] = "30d",
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show what it would do, and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Destroy superseded weights and what was collected of forgotten classes, for good."""
    from ledger.service.upkeep.purge import plan_purge
    from ledger.service.upkeep.purge import purge as carry_out

    age = parse_age(older_than)
    with session(ctx).ledger() as ledger:
        plan = plan_purge(ledger, model, age)
        numbers = [version.number for version in plan.purged]
        if json:
            body = {
                "model": model,
                "anchor": plan.anchor.number,
                "purged": numbers,
                "final": [documents.request(r, plan.model, plan.now) for r in plan.final],
                "class_spaces": plan.spaces,
                "dry_run": dry_run,
            }
            emit_json(documents.document("purge", body))
        else:
            say(f"oldest version of {model} that stays: {plan.anchor.number}")
            say(f"weights that go: {', '.join(f'version {n}' for n in numbers) or 'none'}; class spaces: {plan.spaces}")
            if plan.final:
                emit_table(
                    ["#id", "~classes"],
                    ((r.id, ", ".join(plan.model.labels.names(r.classes))) for r in plan.final),
                    title="requests that can be withdrawn no more",
                )
        if dry_run:
            return
        if numbers:
            confirm(f"Destroy {len(numbers)} versions of {model} for good?", yes=yes)
        with PhaseProgress() as progress:
            destroyed = carry_out(ledger, plan, age, progress)
    say(f"destroyed {len(destroyed)} objects; the history of {model} still verifies: unledger audit verify")
