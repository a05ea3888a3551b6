"""Files of requests on their way in: read as text, and what a dry run finds in them."""

from pathlib import Path

import typer

from ledger.documents.document import Document
from ledger.errors import UsageError
from ledger.named_files import decode_text, read_text

from .answers import answer
from .render import emit_table, say
from .streams import read_bytes

MOST_BYTES = 16 * 2**20


def bulk_text(file: str) -> str:
    """Return what a file of requests holds.

    Args:
        file: A path, or ``-`` for standard input.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read, or is not UTF-8.
    """
    try:
        return decode_text(read_bytes(MOST_BYTES + 1), "standard input") if file == "-" else read_text(Path(file))
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {file}: {error}") from error


def show_check(ctx: typer.Context, check: Document, file: str, *, json: bool) -> None:
    """Show what a dry run found.

    Raises:
        UsageError: A line is bad.
    """
    if json:
        answer(ctx, check)
    elif check["bad"]:
        rows = ((one["line"], one["error"]["message"], one["error"]["hint"]) for one in check["bad"])
        emit_table(["#line", "~what is wrong", "~hint"], rows)
    say(f"{_counted(check['fit'], 'request')} of {file} ({check['format']}) could be filed; nothing was")
    if check["bad"]:
        are = "is" if len(check["bad"]) == 1 else "are"
        raise UsageError(
            f"{_counted(len(check['bad']), 'line')} of {file} {are} bad", "correct them: one bad line spoils the file"
        )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
