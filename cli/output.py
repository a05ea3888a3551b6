"""Documents that a command writes to standard output, or to a file that a person named."""

from pathlib import Path

import typer

from .session import session
from .streams import write_bytes


def emit_file(ctx: typer.Context, data: bytes, output: Path | None, *, force: bool = False, hint: str = "") -> None:
    """Write a document to stdout, or to a file that is whole or not there.

    Args:
        ctx: The command's context.
        data: The document.
        output: The file; None for stdout.
        force: Replace another regular file of that name.
        hint: What to do if it cannot be written.

    Raises:
        RefusedError: The file belongs to a ledger, or is a link.
        LedgerError: The file is there already, or cannot be written.
    """
    if output is None:
        write_bytes(data)
        return
    from ledger.service.output_files import write_output

    write_output(session(ctx).own_config, output, data, force=force, hint=hint)


def require_outside_ledgers(ctx: typer.Context, output: Path | None) -> None:
    """Refuse a file that belongs to a ledger or is a link, before anything is done.

    Raises:
        RefusedError: It is one.
    """
    from ledger.service.output_files import require_outside_ledgers as require

    if output is not None:
        require(session(ctx).own_config, output)


def require_free(ctx: typer.Context, *files: Path | None, force: bool) -> None:
    """Refuse files that could not be written, before anything is signed.

    Raises:
        RefusedError: A file belongs to a ledger, or is a link.
        ConflictError: A file is there already.
    """
    from ledger.service.output_files import require_free as require

    for file in files:
        if file is not None:
            require(session(ctx).own_config, file, force=force)
