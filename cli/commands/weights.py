"""``unledger weights``: prepare weights for registration."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.documents.weights import converted_document
from ledger.errors import NotFoundError

from ..answers import answer
from ..options import Force, Json
from ..render import say, size
from ..session import session

MOST_LISTED = 8

app = typer.Typer(no_args_is_help=True, help="Prepare weights for registration.")


@app.command()
def convert(
    ctx: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A .pth, .pt, .ckpt, .bin or safetensors file, or an .index.json.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The new safetensors file.")],
    key: Annotated[
        str | None, typer.Option(help="Which state dict to take, e.g. state_dict_ema. Default: found.")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Take only tensors with names that begin with this, and take it off.")
    ] = None,
    add_prefix: Annotated[str, typer.Option(help="Put this before every name.")] = "",
    leave_out: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Leave out tensors of such a name; repeatable.")
    ] = None,
    keep_names: Annotated[bool, typer.Option("--keep-names", help="Take nothing off the names.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Convert weights to safetensors, without running any code of the file.

    Finds the state dict, takes off what wrappers put before the names, and says what it chose and what it left out.
    """
    from ledger.service.models.conversion import Names
    from ledger.service.models.conversion import convert as make

    try:
        config = session(ctx).config
    except NotFoundError:
        # It is needed before there is a ledger.
        config = None
    names = Names(key, prefix, add_prefix, tuple(leave_out or ()), keep_names)
    made = make(source, target, names, config=config, force=force)
    if json:
        answer(ctx, converted_document(source, target, made))
    where = f"{made.key} of {source}" if made.key else str(source)
    say(f"wrote {made.tensors} tensors ({size(made.size)}) of {where} to {target}")
    if made.others:
        say(f"there are also {_listed([one.key or 'the whole file' for one in made.others])}; --key takes another one")
    if made.removed:
        say(f"taken off the names: {_listed(made.removed)}")
    if made.shared:
        say(f"{made.shared} tensors shared their values with others; each is stored now")
    if made.left_out:
        say(f"left out: {_listed(made.left_out)}")
    if made.stood_for:
        say(f"not run, and left out: {_listed(made.stood_for)}")


def _listed(names: tuple[str, ...] | list[str]) -> str:
    rest = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")
