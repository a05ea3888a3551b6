"""What a command prints to standard output with ``--json``: one document; ``work`` prints one on each line.

A command that cannot answer prints an ``unledger.error/1`` document instead. The sentence for people goes to standard
error as always.
"""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
import typer

from ledger.documents.document import Document
from ledger.documents.errors import error_document

from .streams import speaks_unicode

WANTED, GIVEN = "unledger.json.wanted", "unledger.json.given"
"""Keys in the context's ``meta``, which a command shares with the group that it belongs to."""


def note_arguments(ctx: typer.Context, arguments: Sequence[str]) -> None:
    """Note whether a command line asks for JSON; known before it is parsed, so that parsing errors are JSON too."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    ctx.meta[WANTED] = "--json" in arguments[:end]


def answer(ctx: typer.Context, document: Document) -> None:
    """Print the command's document."""
    answered(ctx)
    try:
        # In a tenth of the time, which counts for a hundred thousand requests.
        option = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
        text = orjson.dumps(document, default=_json_value, option=option).decode()
    except orjson.JSONEncodeError:
        # e.g. half of a surrogate pair, as names of files may hold
        text = _ascii(document, indent=2)
    if not text.isascii() and not speaks_unicode():
        text = _ascii(document, indent=2)
    sys.stdout.write(text + "\n")


def answer_line(document: Document) -> None:
    """Print one of many documents on a line of its own, for whoever reads while the command goes on."""
    text = json.dumps(document, ensure_ascii=False, default=_json_value)
    if not text.isascii() and not (speaks_unicode() and text.isprintable()):
        text = _ascii(document)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def answered(ctx: typer.Context) -> None:
    """Note that standard output says everything already, the error that is about to be raised included."""
    ctx.meta[GIVEN] = True


def answer_error(ctx: typer.Context, error: BaseException, *, message: str, hint: str = "", exit_code: int) -> None:
    """Print the document of an error, if JSON is wanted and the command has not answered.

    It takes one line, so that it also fits behind the lines of a command that prints one document a line.
    """
    if ctx.meta.get(WANTED) and not ctx.meta.get(GIVEN):
        answered(ctx)
        answer_line(error_document(error, message=message, hint=hint, exit_code=exit_code))


def _ascii(document: Document, indent: int | None = None) -> str:
    """Return a document in characters that every stream can hold."""
    return json.dumps(document, indent=indent, default=_json_value)


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")
