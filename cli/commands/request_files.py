"""``unledger request export`` and ``request calendar``: requests as files for other programs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ledger.documents.request_tables import requests_calendar, requests_csv, requests_jsonl
from ledger.domain.moments import in_zone
from ledger.domain.states import RequestState
from ledger.garbage_collection import paused

from ..options import Force, OptionalModel
from ..output import emit_file, require_free
from ..render import moment, say
from ..session import session

NewFile = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="A new file. Default: stdout.")]


class FileFormat(StrEnum):
    """What other programs read."""

    CSV = "csv"
    JSONL = "jsonl"


def export(
    ctx: typer.Context,
    model: OptionalModel = None,
    state: Annotated[list[RequestState] | None, typer.Option(help="Only these states; repeatable.")] = None,
    form: Annotated[
        FileFormat | None, typer.Option("--format", help="Default: by the name of the file, else CSV.")
    ] = None,
    output: NewFile = None,
    force: Force = False,
) -> None:
    """Write requests as CSV or JSON Lines, in the order they were filed."""
    require_free(ctx, output, force=force)
    if form is None:
        lines = output is not None and output.suffix.lower() in (".jsonl", ".ndjson")
        form = FileFormat.JSONL if lines else FileFormat.CSV
    with session(ctx).desk() as desk, paused():
        items = desk.requests.all(model, state or ())["items"]
        data = requests_jsonl(items) if form is FileFormat.JSONL else requests_csv(items)
    emit_file(ctx, data, output, force=force)
    if output is not None:
        say(f"wrote {len(items):,} requests to {output}")


def calendar(
    ctx: typer.Context,
    model: OptionalModel = None,
    with_classes: Annotated[
        bool, typer.Option("--with-classes", help="Name models and classes: whoever sees the calendar reads them.")
    ] = False,
    output: NewFile = None,
    force: Force = False,
) -> None:
    """Write the due dates of open requests as a calendar (iCalendar)."""
    require_free(ctx, output, force=force)
    with session(ctx).desk() as desk:
        found = [item for item in desk.requests.all(model)["items"] if item["days_left"] is not None]
        now, zone = session(ctx).now(desk), session(ctx).zone
        log = desk.upkeep.facts()["log"]
    days = ((item, in_zone(moment(item["due_at"]), zone).date()) for item in found)
    emit_file(ctx, requests_calendar(days, log=log, now=now, with_classes=with_classes), output, force=force)
    if output is not None:
        say(f"wrote the due dates of {len(found):,} requests to {output}")
