"""``unledger audit``: read, verify and export the history."""

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.errors import AuditError, LedgerError, NotFoundError

from . import documents
from .completion import model_names
from .people import session
from .render import emit_json, emit_table, say
from .setup import Json

EXPORTED = {"seq", "leaf", "digest"}
app = typer.Typer(no_args_is_help=True, help="Read, verify and export the audit history.")


@app.command()
def log(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", autocompletion=model_names)] = None,
    after: Annotated[int, typer.Option(help="Only entries with a higher number.")] = 0,
    json: Json = False,
) -> None:
    """Print the history, oldest first."""
    with session(ctx).ledger() as ledger, ledger.database.read() as tx:
        if model is not None:
            tx.models.get(model)
        events = list(tx.audit.events(model=model, after=after))
    if json:
        emit_json(documents.listing("audit", (documents.event(e) for e in events)))
        return
    emit_table(
        ["#seq", "when", "event", "#req", "#ver", "who", "~note"],
        ((e.seq, e.at, e.kind, e.request_id, e.data.get("version"), e.actor, e.note) for e in events),
    )


@app.command()
def verify(
    ctx: typer.Context,
    against: Annotated[
        str | None, typer.Option(metavar="SIZE:SHA256", help="A head that was noted earlier and kept elsewhere.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Verify an exported history instead of the ledger's own.")] = None,
    json: Json = False,
) -> None:
    """Check every entry's place in the hash chain; name the first bad one."""
    from ledger.audit.chain import Entry, Head
    from ledger.audit.chain import verify as check

    kept = Head.parse(against) if against else None
    try:
        if file is not None:
            entries = [Entry(line["seq"], line["leaf"], line["digest"]) for line in _exported(file)]
            for _ in check(entries, kept=kept):
                pass
            head = Head(len(entries), entries[-1].digest) if entries else Head(0, "0" * 64)
        else:
            with session(ctx).ledger() as ledger, ledger.database.read() as tx:
                head = tx.audit.verify(kept)
    except AuditError as error:
        if json:
            emit_json(
                documents.document("verification", {"ok": False, "first_bad": error.seq, "problem": error.message})
            )
        raise
    if json:
        emit_json(documents.document("verification", {"ok": True, "size": head.size, "head": str(head)}))
        return
    say(f"audit verify ok: {head.size} entries")
    print(head)  # noqa: T201 - the head is data: worth keeping somewhere else
    if kept is None:
        say("keep this head elsewhere: only --against it proves that no end was cut off and nothing was rewritten")


@app.command()
def export(
    ctx: typer.Context,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file; default: stdout.")] = None,
) -> None:
    """Write the history as JSON lines, with the exact texts that are hashed; notes are left out."""
    with session(ctx).ledger() as ledger, ledger.database.read() as tx:
        lines = [jsonlib.dumps({"seq": e.seq, "leaf": e.leaf, "digest": e.digest}) for e in tx.audit.events()]
    text = "".join(f"{line}\n" for line in lines)
    if output is None:
        print(text, end="")  # noqa: T201 - data
        return
    try:
        with output.open("x") as file:
            file.write(text)
    except OSError as error:
        raise LedgerError(f"cannot write {output}: {error.strerror}") from error
    say(f"wrote {len(lines)} entries to {output}")


def _exported(file: Path) -> list[dict[str, Any]]:
    try:
        lines = [jsonlib.loads(line) for line in file.read_text().splitlines()]
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {file}") from None
    except (OSError, ValueError) as error:
        raise AuditError(f"{file} is not an exported history: {error}", seq=1) from error
    if not all(isinstance(line, dict) and line.keys() >= EXPORTED for line in lines):
        raise AuditError(f"{file} is not an exported history", seq=1)
    return lines
