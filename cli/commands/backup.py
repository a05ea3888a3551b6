"""``unledger backup`` and ``unledger restore``: a second copy of a ledger, and a ledger from it."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.documents import backups as documents
from ledger.domain.command_lines import command
from ledger.errors import IntegrityError

from ..answers import answer
from ..options import Json, VerifierKey
from ..render import PhaseProgress, say, size
from ..session import session


def backup(
    ctx: typer.Context,
    place: Annotated[str, typer.Argument(metavar="DIR|URL", help="A folder, or s3://BUCKET/PREFIX and the like.")],
    with_keys: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also copy the keys, to a place apart from the backup. Else: no keys."),
    ] = None,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Also read and hash the objects that the backup holds already.")
    ] = False,
    json: Json = False,
) -> None:
    """Back the ledger up, or bring its backup up to date; workers may go on meanwhile."""
    from ledger.service.backups.backup import back_up

    with session(ctx).ledger(acts=True) as ledger, PhaseProgress() as progress:
        done = back_up(ledger, place, progress, keys=with_keys, read_data=read_data)
    if json:
        answer(ctx, documents.backup_document(done))
    say(
        f"backed up {done.entries} entries and {done.objects} objects to {done.place}; "
        f"{done.copied} of them were new ({size(done.copied_bytes)})"
    )
    if done.removed:
        say(f"removed {done.removed} objects from the backup that were purged or are needed no more")
    if done.keys is None:
        say("the keys are not in it: without them nobody can open an object; keep copies with --with-keys FOLDER")
    else:
        destroyed = f"; {done.keys_destroyed} were destroyed there" if done.keys_destroyed else ""
        say(f"copied the keys to {done.keys}{destroyed}")
    if done.keys_left_behind:
        say(("warning:", "yellow"), " keys were copied before, and not this time: those copies are not up to date")
    if done.damaged:
        raise IntegrityError(
            f"{len(done.damaged)} objects are missing or damaged in the ledger, {len(done.missing)} of them in the "
            f"backup too: {done.damaged[0]}",
            "see: unledger fsck --read-data. Everything else is backed up",
        )


def restore(
    ctx: typer.Context,
    place: Annotated[str, typer.Argument(metavar="DIR|URL", help="Where the backup is.")],
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="The restored ledger: a new folder.")],
    db: Annotated[
        str | None, typer.Option(metavar="URL", help="An empty database. Else: a SQLite file in the folder.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The keys, or their copies. Else: restored without keys.")
    ] = None,
    key: VerifierKey = None,
    json: Json = False,
) -> None:
    """Restore a backup into a new folder, and verify all of it; exit with 5 if anything differs."""
    from ledger.service.backups.restore import restore as bring_back

    with PhaseProgress() as progress:
        done = bring_back(place, into, progress, database=db, keys=keys, key=key)
    if json:
        answer(ctx, documents.restored_document(done))
    say(f"restored {done.entries} entries and {done.objects} objects of {done.created_at} into {done.folder}")
    if done.missing:
        say(("warning:", "yellow"), f" {len(done.missing)} objects were missing already when it was backed up")
    if done.opened:
        say("verified: manifest, audit log, rows, and every object with its key")
    else:
        say(f"verified without keys: manifest, audit log, rows, stored bytes; put the keys into {done.folder}/keys")
    say(f"next: {command('--ledger', done.folder, 'doctor')}")
