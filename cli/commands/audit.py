"""``unledger audit``: read, verify, sign, prove and hand out the history."""

from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.documents import audit as documents
from ledger.documents.document import Document, text
from ledger.domain.command_lines import command
from ledger.errors import AuditError, UsageError

from ..answers import answer
from ..options import DryRun, Force, Json, ModelName, OptionalModel, Output, VerifierKey, Yes
from ..output import emit_file, require_outside_ledgers
from ..render import advise, emit_table, minute, say
from ..session import confirm, session

app = typer.Typer(no_args_is_help=True, help="Read, verify, sign and export the audit log.")


@app.command()
def log(
    ctx: typer.Context,
    model: OptionalModel = None,
    after: Annotated[int, typer.Option(help="Only entries with a higher number.")] = 0,
    json: Json = False,
) -> None:
    """Print the history, oldest first; entries that read the same share a line."""
    with session(ctx).desk() as desk:
        found = desk.audit.log(model, after=after)
    if json:
        answer(ctx, found)
        return
    emit_table(
        ["#seq", "when", "event", "#req", "#ver", "who", "~note"],
        (
            (_span(same), minute(same[0]["at"]), _counted(same), *_told_of(same[0]))
            for same in (list(group) for _, group in groupby(found["items"], lambda e: (e["kind"], *_told_of(e))))
        ),
    )
    if model is not None:
        advise(f"only entries about {model}; the others, e.g. about the ledger itself:", command("audit", "log"))


def _told_of(event: Document) -> tuple[Any, ...]:
    """Return what the table says of an entry behind its kind."""
    return event["request"], event["data"].get("version"), event["actor"], event["note"]


def _span(same: list[Document]) -> str:
    """Return the numbers of entries that read the same; entries of other models may lie between."""
    return str(same[0]["seq"]) if len(same) == 1 else f"{same[0]['seq']}-{same[-1]['seq']}"


def _counted(same: list[Document]) -> str:
    return str(same[0]["kind"]) if len(same) == 1 else f"{same[0]['kind']} ({len(same)} times)"


@app.command()
def verify(
    ctx: typer.Context,
    against: Annotated[
        str | None,
        typer.Option(metavar="FILE|SIZE:SHA256", help="What was kept elsewhere: a checkpoint, a witness file, a head."),
    ] = None,
    key: VerifierKey = None,
    file: Annotated[
        Path | None, typer.Option(help="Verify an exported audit log, or a proof, instead of the ledger's own.")
    ] = None,
    json: Json = False,
) -> None:
    """Check every entry's place in the log, what was signed, and that every row says what its entries say."""
    try:
        found = _verify(ctx, against, key, file)
    except AuditError as error:
        if json:
            answer(ctx, documents.rejected_log_document(error))
        raise
    if isinstance(found, int):
        if json:
            answer(ctx, documents.verified_entry_document(found))
        say(f"audit verify ok: entry {found} stands in the signed audit log")
        return
    if json:
        answer(ctx, found)
        return
    signed = f", {found['signed']} of them under a signed checkpoint" if found["signed"] else ""
    say(f"audit verify ok: {found['size']} entries{signed}")
    print(found["head"])  # noqa: T201 - the head is data: worth keeping somewhere else
    if against is None:
        say("keep a checkpoint elsewhere: only --against one proves that no end was cut off and nothing was rewritten")


def _verify(ctx: typer.Context, against: str | None, key: str | None, file: Path | None) -> Document | int:
    """Return what was verified of a log, or the number of the entry that a proof is about."""
    from ledger.service.audit.proofs import check_proof, is_proof
    from ledger.service.audit.verification import kept_text, read_text, verify_export

    if file is None:
        with session(ctx).desk() as desk:
            return desk.audit.verify(kept_text(against), key)
    contents = read_text(file)
    if not is_proof(contents):
        return documents.verified_log_document(verify_export(contents, str(file), against, key))
    if key is None:
        raise UsageError("a proof is checked against a key", "name it with --key")
    return check_proof(contents, key).index + 1


@app.command()
def adopt(
    ctx: typer.Context,
    model: ModelName,
    reason: Annotated[str, typer.Option(help="Why the rows are believed; kept beside the entry.")] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Bind to the log what an earlier release stored of a model without a digest in any entry."""
    from ledger.service.audit.adoption import adopt as bind
    from ledger.service.audit.adoption import plan_adoption

    with session(ctx).ledger() as ledger:
        plan = plan_adoption(ledger, model)
        if plan.rows and not json:
            emit_table(["~row"], ((row,) for row in plan.rows), title="rows that no entry covers whole")
        if plan.rows and not dry_run:
            confirm(f"Bind {len(plan.rows)} rows of {model} to the log as they are now?", yes=yes)
            plan = bind(ledger, plan, reason)
    if json:
        answer(ctx, documents.adopted_document(plan, dry_run=dry_run))
    if not plan.rows:
        say(f"the log covers every row of {model}: there is nothing to bind")
    elif not dry_run:
        say(f"bound {len(plan.rows)} rows of {model} to the log")


@app.command()
def key(ctx: typer.Context, json: Json = False) -> None:
    """Print the verifier key; give it to everybody who will check signatures later."""
    found = session(ctx).verifier_key()
    if json:
        answer(ctx, found)
    else:
        print(found["key"])  # noqa: T201 - data


@app.command()
def checkpoint(ctx: typer.Context, output: Output = None, force: Force = False, json: Json = False) -> None:
    """Sign how far the history reaches and what it holds; refused if it does not continue the last checkpoint."""
    require_outside_ledgers(ctx, output)
    with session(ctx).desk(acts=True) as desk:
        issued = desk.audit.checkpoint()
    if output is not None or not json:
        emit_file(ctx, issued["note"].encode(), output, force=force)
    if json:
        answer(ctx, {**issued, "output": None if output is None else str(output)})
    say(f"signed {issued['size']} entries; keep this where nobody who writes the database can reach it")


@app.command()
def proof(
    ctx: typer.Context,
    seq: Annotated[int, typer.Argument(metavar="SEQ", help="An entry's number.")],
    output: Output = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Prove that an entry is in the signed history, without showing other entries; a JSON document."""
    require_outside_ledgers(ctx, output)
    with session(ctx).desk() as desk:
        document = desk.audit.proof(seq)
    if output is not None or not json:
        emit_file(ctx, text(document).encode(), output, force=force)
    if json:
        answer(ctx, document)


@app.command()
def witness(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Kept elsewhere; created if there is none.")],
    key: VerifierKey = None,
    json: Json = False,
) -> None:
    """Add a checkpoint and the digest of each new entry to a file, to find later changes with."""
    from ledger.service.audit.copies import witness as visit

    with session(ctx).ledger() as ledger:
        before, after = visit(ledger, file, key)
    if json:
        answer(ctx, documents.witnessed_document(file, before, after))
    say(f"{file} knew {before} entries and knows {after} now")


@app.command()
def export(ctx: typer.Context, output: Output = None, force: Force = False, json: Json = False) -> None:
    """Write the history and its newest checkpoint as JSON lines, to be verified anywhere; notes are left out."""
    if json and output is None:
        raise UsageError("without a file, standard output holds the export itself", "name a file with -o")
    require_outside_ledgers(ctx, output)
    with session(ctx).desk() as desk:
        lines = desk.audit.export()
    emit_file(ctx, "".join(lines).encode(), output, force=force)
    if output is not None:
        if json:
            answer(ctx, documents.audit_export_document(len(lines), output))
        say(f"wrote {len(lines)} lines to {output}")


@app.command("import")
def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As audit export wrote it.")],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Make a new archive in this folder. Else: the ledger given.")
    ] = None,
    key: VerifierKey = None,
    json: Json = False,
) -> None:
    """Import an exported history into an archive, if it verifies and continues the archive's history."""
    from ledger.service.audit.copies import create_archive, import_log
    from ledger.service.ledger import open_ledger

    if into is None:
        with session(ctx).ledger() as ledger:
            before, after = import_log(ledger, file, key)
    else:
        ledger = open_ledger(create_archive(into, file, key), session(ctx).who)
        try:
            before, after = import_log(ledger, file, key)
        finally:
            ledger.close()
    if json:
        answer(ctx, documents.imported_document(before, after))
    say(f"the archive held {before} entries and holds {after} now")
