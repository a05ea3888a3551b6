"""``unledger plugin``: for whoever writes one."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.documents.upkeep import written_plugin_document
from ledger.domain.command_lines import quoted

from ..answers import answer
from ..options import Json
from ..render import say

app = typer.Typer(no_args_is_help=True, help="Write a plugin. See also: unledger plugins.")


@app.callback()
def group() -> None:
    """Write a plugin."""


@app.command("new")
def new(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it, e.g. my-plugin.")],
    into: Annotated[
        Path | None, typer.Option("--into", metavar="DIR", help="A new folder. Default: one of that name, here.")
    ] = None,
    json: Json = False,
) -> None:
    """Write the package of a new plugin: an example of each kind, with tests that pass."""
    from ledger.service.upkeep.plugin_template import write_plugin

    folder = into or Path(name)
    written = write_plugin(name, folder)
    if json:
        answer(ctx, written_plugin_document(name, folder, written))
        return
    say(f"wrote {len(written)} files to {folder}")
    place = quoted(str(folder))
    say(f"next: pip install -e {place} && python -m pytest {place}")
