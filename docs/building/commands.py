"""The reference of commands, read from the program that answers them."""

from collections.abc import Iterator
from typing import Any

import typer
from ledger.cli.main import app

from .markdown import code, escaped, flat

EXAMPLE = "Example: "
WIDTH = 10_000
"""Columns of the imagined terminal: no text is folded."""


def commands_page() -> str:
    """Return every command with its arguments, options and example, as Markdown."""
    program: Any = typer.main.get_command(app)
    return "\n".join(_described(program, typer.Context(program, info_name="unledger", terminal_width=WIDTH), 2))


def _described(command: Any, context: Any, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {code(context.command_path)}\n"
    yield escaped(flat(command.help or "")) + "\n"
    inner = list(command.list_commands(context)) if hasattr(command, "list_commands") else []
    if not inner or depth == 2:
        yield from _usage(command, context)
    for name in inner:
        found = command.get_command(context, name)
        if not found.hidden:
            yield from _described(found, typer.Context(found, info_name=name, parent=context), depth + 1)


def _usage(command: Any, context: Any) -> Iterator[str]:
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {pieces}\n```\n"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in parameter.opts:
            shown, meaning = record
            yield f"- {code(flat(shown))}: {escaped(flat(meaning))}"
    said = flat(command.epilog or "")
    if said.startswith(EXAMPLE):
        yield f"\n```console\n$ {said.removeprefix(EXAMPLE)}\n```\n"
    else:
        yield f"\n{escaped(said)}\n"
