"""``unledger audit``: read, verify, sign, prove and hand out the history."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.errors import AuditError, UsageError

from .. import documents
from ..completion import model_names
from ..render import emit_file, emit_json, emit_table, say
from ..session import session
from .setup import Json

if TYPE_CHECKING:
    from ledger.service.audit.verification import Verified

app = typer.Typer(no_args_is_help=True, help="Read, verify, sign and export the audit history.")
Key = Annotated[str | None, typer.Option(metavar="VERIFIERKEY", help="Who must have signed, as audit key prints it.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="A new file; default: stdout.")]


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
        str | None,
        typer.Option(metavar="FILE|SIZE:SHA256", help="What was kept elsewhere: a checkpoint, a witness file, a head."),
    ] = None,
    key: Key = None,
    file: Annotated[
        Path | None, typer.Option(help="Verify an exported history, or a proof, instead of the ledger's own history.")
    ] = None,
    json: Json = False,
) -> None:
    """Check every entry's place in the history, and what was signed; name the first bad one."""
    try:
        found = _verify(ctx, against, key, file)
    except AuditError as error:
        if json:
            emit_json(
                documents.document("verification", {"ok": False, "first_bad": error.seq, "problem": error.message})
            )
        raise
    if found is None:
        return
    if json:
        body = {"size": found.head.size, "head": str(found.head), "root": found.root, "signed": found.signed}
        emit_json(documents.document("verification", {"ok": True, **body}))
        return
    signed = f", {found.signed} of them under a signed checkpoint" if found.signed else ""
    say(f"audit verify ok: {found.head.size} entries{signed}")
    print(found.head)  # noqa: T201 - the head is data: worth keeping somewhere else
    if against is None:
        say("keep a checkpoint elsewhere: only --against one proves that no end was cut off and nothing was rewritten")


def _verify(ctx: typer.Context, against: str | None, key: str | None, file: Path | None) -> "Verified | None":
    from ledger.audit.proofs import SCHEMA as PROOF
    from ledger.service.audit.proofs import check_proof
    from ledger.service.audit.verification import read_text, verify_export, verify_history

    if file is None:
        with session(ctx).ledger() as ledger:
            return verify_history(ledger, against, key)
    text = read_text(file)
    if PROOF not in text[:200]:
        return verify_export(text, str(file), against, key)
    if key is None:
        raise UsageError("a proof is checked against a key", "name it with --key")
    index = check_proof(text, key).index
    say(f"audit verify ok: entry {index + 1} stands in the signed history")
    return None


@app.command()
def key(ctx: typer.Context) -> None:
    """Print the verifier key: who wants to check signatures later should have it from now on."""
    from ledger.config import find_config
    from ledger.service.signing import load_signer

    print(load_signer(find_config(session(ctx).folder)).verifier)  # noqa: T201 - data


@app.command()
def checkpoint(ctx: typer.Context, output: Output = None) -> None:
    """Sign how far the history reaches and what it holds; refused if it does not continue the last checkpoint."""
    from ledger.service.audit.checkpoints import issue_checkpoint

    with session(ctx).ledger() as ledger:
        issued = issue_checkpoint(ledger)
    emit_file(issued.note.encode(), output)
    say(f"signed {issued.size} entries; keep this where nobody who writes the database can reach it")


@app.command()
def proof(
    ctx: typer.Context,
    seq: Annotated[int, typer.Argument(metavar="SEQ", help="An entry's number.")],
    output: Output = None,
) -> None:
    """Prove that an entry stands in the signed history, without showing any other; a JSON document."""
    from ledger.service.audit.proofs import prove

    with session(ctx).ledger() as ledger:
        document = prove(ledger, seq).to_json()
    emit_file(documents.text(document).encode(), output)


@app.command()
def witness(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Kept elsewhere; created if there is none.")],
    key: Key = None,
) -> None:
    """Add a checkpoint and the digest of each new entry to a file that names what is changed later."""
    from ledger.service.audit.copies import witness as visit

    with session(ctx).ledger() as ledger:
        before, after = visit(ledger, file, key)
    say(f"{file} knew {before} entries and knows {after} now")


@app.command()
def export(ctx: typer.Context, output: Output = None) -> None:
    """Write the history and its newest checkpoint as JSON lines, to be verified anywhere; notes are left out."""
    from ledger.service.audit.copies import export_history

    with session(ctx).ledger() as ledger:
        lines = export_history(ledger)
    emit_file("".join(lines).encode(), output)
    if output is not None:
        say(f"wrote {len(lines)} lines to {output}")


@app.command("import")
def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As audit export wrote it.")],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Make a new archive in this folder. Else: the ledger given.")
    ] = None,
    key: Key = None,
) -> None:
    """Take an exported history over into an archive, if it verifies and continues what the archive holds."""
    from ledger.service.audit.copies import create_archive, import_history
    from ledger.service.ledger import open_ledger

    if into is None:
        with session(ctx).ledger() as ledger:
            before, after = import_history(ledger, file, key)
    else:
        ledger = open_ledger(create_archive(into, file, key), session(ctx).who)
        try:
            before, after = import_history(ledger, file, key)
        finally:
            ledger.close()
    say(f"the archive held {before} entries and holds {after} now")
