"""``unledger weights``: prepare weights for registration."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.documents.weights import converted_document, inspected_document
from ledger.errors import NotFoundError

from ..answers import answer
from ..options import Force, Json
from ..render import advise, emit_table, say, size
from ..session import session

MOST_LISTED = 8

app = typer.Typer(no_args_is_help=True, help="Prepare weights for registration.")


@app.command()
def inspect(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A weights file of any kind, or a folder that holds one.")],
    json: Json = False,
) -> None:
    """Say what a weights file holds, which network it fits, and how to register it. None of its code is run."""
    from ledger.service.models.inspection import inspect as look

    found = look(file)
    if json:
        answer(ctx, inspected_document(found))
        return
    rows = [
        ("kind", f"{found.kind}, {size(found.size)}"),
        ("weights", f"{found.tensors} tensors under {found.key}" if found.key else f"{found.tensors} tensors"),
        ("parameters", f"{found.parameters:,}"),
        ("types", _listed([f"{name} ({count})" for name, count in found.dtypes.items()])),
        ("before the names", _listed(found.removed)),
        ("also weights", _listed([f"{one.key or 'the whole file'} ({len(one.tensors)})" for one in found.others])),
        ("beside", _listed(found.beside)),
        ("not run", _listed(found.stood_for)),
        ("calls itself", found.said),
        ("classes", "unknown" if found.classes is None else f"{found.classes:,}"),
        ("fits", _listed([one.spec for one in found.architectures]) or "no network that is known by name"),
    ]
    emit_table(["", "~"], [(name, value) for name, value in rows if value], title=str(found.path))
    for line in found.commands:
        advise("next:", line)


@app.command()
def convert(
    ctx: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="A .pth, .pt, .ckpt, .bin or safetensors file, an .index.json, or an adapter's folder."
        ),
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
    base: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Merge the adapter IN (LoRA, as PEFT writes it) into these weights."),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Convert weights to safetensors, without running any code of the file.

    Finds the state dict, takes off what wrappers put before the names, and says what it chose and what it left out.
    """
    from ledger.service.models.conversion import convert as make
    from ledger.service.models.weights_reading import Names

    try:
        config = session(ctx).config
    except NotFoundError:
        # It is needed before there is a ledger.
        config = None
    names = Names(key, prefix, add_prefix, tuple(leave_out or ()), keep_names)
    made = make(source, target, names, config=config, force=force, base=base)
    if json:
        answer(ctx, converted_document(source, target, made))
    taken = source if base is None else f"{base} with the adapter {source}"
    where = f"{made.key} of {taken}" if made.key else str(taken)
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
