"""``unledger fsck`` and ``unledger gc``: check what is stored, and remove what nothing refers to."""

from typing import Annotated

import typer

from ledger.documents import upkeep as documents
from ledger.domain.typed_dates import parse_age
from ledger.errors import AccessError, IntegrityError

from ..answers import answer
from ..options import DryRun, Json, OptionalModel
from ..render import PhaseProgress, emit_table, say, size
from ..session import session


def fsck(
    ctx: typer.Context,
    model: OptionalModel = None,
    read_data: Annotated[bool, typer.Option("--read-data", help="Also read and hash every stored object.")] = False,
    json: Json = False,
) -> None:
    """Check database, history and stored objects; name what is wrong and quarantine affected versions."""
    from ledger.service.upkeep.fsck import fsck as check

    with session(ctx).ledger() as ledger, PhaseProgress() as progress:
        result = check(ledger, progress, model_name=model, read_data=read_data)
    if json:
        answer(ctx, documents.fsck_document(result, read_data=read_data))
    elif result.findings:
        emit_table(
            ["", "fault", "~what", "~detail", "~used by"],
            (
                ("ERROR" if f.severe else "warning", f.fault, f.what, f.detail, ", ".join(f.used_by))
                for f in result.findings
            ),
        )
    for name in result.quarantined:
        say(("quarantined:", "bold red"), f" version {name} is handed out no more")
    for name in result.released:
        say(f"version {name} is whole again")
    severe = sum(finding.severe for finding in result.findings)
    if result.only_unreadable:
        raise AccessError(
            f"{severe} files cannot be read by this account", "change their owner as shown, and check again"
        )
    if severe:
        raise IntegrityError(
            f"{severe} things are wrong with the ledger",
            "restore what is damaged from a backup, then run: unledger fsck --read-data",
        )
    say(f"fsck ok: {result.objects} objects {'read' if read_data else 'looked at; add --read-data to read them'}")


def gc(
    ctx: typer.Context,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Spare what was written since then: 1h, 7d, 0.")
    ] = "1h",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove stored objects, keys and temporary files that nothing refers to."""
    from ledger.service.upkeep.garbage import collect_garbage

    grace = parse_age(older_than).total_seconds()
    with session(ctx).ledger(acts=not dry_run) as ledger:
        garbage = collect_garbage(ledger, grace=grace, dry_run=dry_run)
    if json:
        answer(ctx, documents.gc_document(garbage, dry_run=dry_run))
    elif garbage:
        emit_table(["kind", "~name", "#size"], ((g.kind, g.name, size(g.size)) for g in garbage))
    verb = "would remove" if dry_run else "removed"
    say(f"gc {verb} {len(garbage)} files, {size(sum(g.size for g in garbage))}")
