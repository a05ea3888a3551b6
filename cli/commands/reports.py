"""``unledger report``: pages to read, and the numbers behind their pictures."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.documents.models import report_document
from ledger.errors import UsageError

from ..answers import answer
from ..options import Force, Json, OptionalModel
from ..render import say
from ..session import session

PAGE, PAGES = Path("report.html"), Path("reports")
"""Where reports go unless a person says otherwise: one, and those of all models."""


def report(
    ctx: typer.Context,
    model: OptionalModel = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The HTML file to write (report.html); with --all, a folder (reports)."),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write the numbers behind each picture, as CSV, to a folder."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="A page for each model, and an index of them.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a self-contained HTML report: versions, evidence, requests, recipe."""
    if every == (model is not None):
        raise UsageError(
            "name one model, or give --all", "e.g. unledger report MODEL -o report.html, or unledger report --all"
        )
    if every and csv is not None:
        raise UsageError("--csv goes with one model", "name the model instead of --all")
    from ledger.desk.report_files import write_all, write_report

    place = output or (PAGES if every else PAGE)
    here = session(ctx).own_config
    with session(ctx).desk() as desk:
        if model is None:
            written = write_all(desk.reports, here, place, force=force)
        else:
            written = (place, *write_report(desk.reports, here, model, place, force=force, csv=csv))
    if json:
        answer(ctx, report_document(model, place, written))
    say(f"wrote {place}" + (f" and {len(written) - 1} files more" if len(written) > 1 else ""))
