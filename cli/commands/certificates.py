"""``unledger certificate``: issue, list, show and verify signed statements about fulfilled requests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.documents import certificates as documents
from ledger.documents.document import Document
from ledger.domain.certificate_caveats import caveats, headline
from ledger.domain.command_lines import command
from ledger.errors import SignatureError

from ..answers import answer
from ..completion import request_numbers
from ..options import DryRun, Force, Json, Output, Yes
from ..output import emit_file, require_free
from ..render import advise, emit_table, minute, say
from ..session import confirm, session

Number = Annotated[int, typer.Argument(metavar="ID", help="The certificate's number.")]
app = typer.Typer(no_args_is_help=True, help="Signed statements about fulfilled requests, for others to verify.")


@app.command()
def issue(
    ctx: typer.Context,
    request: Annotated[int, typer.Argument(metavar="REQUEST", autocompletion=request_numbers)],
    output: Output = None,
    openings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write what opens the commitments to class names.")
    ] = None,
    force: Force = False,
    renew: Annotated[bool, typer.Option(help="Issue another one even if nothing changed since the last.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Certify what is live, not what fulfilled the request.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Certify how a fulfilled request was carried out; it names no class."""
    require_free(ctx, output, openings, force=force)
    with session(ctx).desk(acts=not dry_run) as desk:
        planned = desk.certificates.plan(request, live=live)
        _tell_plan(planned)
        if dry_run:
            if json:
                answer(ctx, planned)
            return
        issued = desk.certificates.issue(request, live=live, renew=renew, confirmation=planned["confirmation"])
        number = issued["id"]
        if issued["repeated"]:
            say(f"certificate {number} already says this of request {request}; nothing was issued")
        else:
            say(f"issued certificate {number} for request {request}, version {issued['version']}")
        if openings is not None:
            _write(ctx, desk.certificates.openings(number), openings, force=force)
        if output is not None or not json:
            _write(ctx, desk.certificates.file(number), output, force=force)
    if json:
        answer(ctx, issued if output is None else {**issued, "output": str(output), "certificate": None})
    advise("next:", command("certificate", "verify", output or "FILE"))


@app.command("list")
def list_(ctx: typer.Context, json: Json = False) -> None:
    """List certificates in the order they were issued."""
    with session(ctx).desk() as desk:
        found = desk.certificates.all()
    if json:
        answer(ctx, found)
        return
    emit_table(
        ["#id", "#req", "model", "#ver", "issued", "#seq", "openings"],
        (
            (
                c["id"],
                c["request"],
                c["model"],
                c["version"],
                minute(c["issued_at"]),
                c["seq"],
                "kept" if c["openings"] else "erased",
            )
            for c in found["items"]
        ),
    )


@app.command()
def show(
    ctx: typer.Context,
    certificate: Number,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the certificate to a new file.")
    ] = None,
    force: Force = False,
    openings: Annotated[
        bool, typer.Option("--openings", help="Instead, what opens its commitments to class names, as JSON.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what a certificate states; with --json or -o, the certificate itself."""
    require_free(ctx, output, force=force)
    shown = not (openings or json or output is not None)
    with session(ctx).desk() as desk:
        data = desk.certificates.openings(certificate) if openings else desk.certificates.file(certificate)
        found = desk.certificates.show(certificate) if shown else {}
    if output is not None:
        _write(ctx, data, output, force=force)
    if json or (openings and output is None):
        _write(ctx, data, None, force=False)
    if not shown:
        return
    _table(found["statement"], None)
    for sentence in found["since"]:
        say(("since then:", "yellow"), f" {sentence}")
    if not found["openings"]:
        say("its openings were erased: nobody can name its classes from this ledger")


@app.command("erase-openings")
def erase_openings(
    ctx: typer.Context,
    certificate: Number,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Erase what opens a certificate's commitments to class names; the certificate still verifies."""
    with session(ctx).desk(acts=True) as desk:
        desk.certificates.show(certificate)
        confirm(
            f"Nobody can name the classes of certificate {certificate} from this ledger afterwards. Erase?", yes=yes
        )
        done = desk.certificates.erase_openings(certificate)
    if json:
        answer(ctx, done)
    say(f"the openings of certificate {certificate} " + ("are erased" if done["erased"] else "had been erased before"))


@app.command()
def verify(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate.")],
    key: Annotated[
        str | None, typer.Option(metavar="NAME+HASH+KEY", help="The issuer's verifier key. Else this ledger's own.")
    ] = None,
    opening: Annotated[Path | None, typer.Option(metavar="FILE", help="Also check which classes it is about.")] = None,
    request: Annotated[int | None, typer.Option(metavar="N", help="The request it must be about.")] = None,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="The weights it must be about.")] = None,
    json: Json = False,
) -> None:
    """Verify a certificate, offline: signature, statement, and its place in the history."""
    from ledger.service.evidence.verification import issuer, verify_certificate

    try:
        own = key if key is not None or session(ctx).server is None else session(ctx).verifier_key()["key"]
        verifier = issuer(own, session(ctx).folder)
        if key is None:
            say(f"verifying with this ledger's own key: {verifier}")
        found = verify_certificate(file, verifier, request=request, weights=weights, opening=opening)
    except SignatureError as error:
        if json:
            answer(ctx, documents.rejected_document(error.message))
        raise
    if json:
        answer(ctx, documents.verified_document(found))
        return
    verified = found.certificate
    say(f"certificate ok: {file} is entry {verified.entry} of the audit log, proven in a tree of {verified.size}")
    _table(verified.statement, found.classes)


def _table(statement: dict[str, Any], opened: Sequence[tuple[int, str]] | None) -> None:
    """Print what a statement says, for a person to read."""
    said = statement["predicate"]
    request, version, copies = (said[name] for name in ("request", "version", "copies"))
    closed = f"{len(request['classes'])}, not named; their opening names them"
    stored = [f"version {copy['version']}" for copy in copies["stored"]]
    rows = {
        "claim": headline(said),
        "request": f"{request['id']} of {said['log']}",
        "received": request["receivedAt"],
        "fulfilled": request["fulfilledAt"],
        "issued": said["issuedAt"],
        "classes": closed if opened is None else ", ".join(f"{label} (index {index})" for index, label in opened),
        "version": f"{version['number']} of {version['model']}; {_live(version)}",
        "weights": f"sha256:{statement['subject'][0]['digest']['sha256']}",
        "evidence": ", ".join([said["evidence"]["level"], *(m["evaluator"] for m in said["evidence"]["measurements"])]),
        "did not run": ", ".join(said["notTested"]["evaluators"]) or "no installed evaluator",
        "copies kept": ", ".join(stored) or "none in this ledger",
        "copies out": ", ".join(f"version {copy['version']}" for copy in copies["exported"]) or "none recorded",
    }
    emit_table(["", "~"], rows.items())
    emit_table(["~"], ([f"- {sentence}"] for sentence in caveats(said)), title="what limits this")


def _live(version: Mapping[str, Any]) -> str:
    same = version.get("isLive", version["number"] == version["live"])
    return "live when it was issued" if same else f"not live: version {version['live']} was"


def _tell_plan(planned: Document) -> None:
    """Say what would be certified, how far it was tested, and what limits it, before anything is signed."""
    name, number, is_live = planned["model"], planned["version"], planned["is_live"]
    live = "which is live" if is_live else f"which is not live: version {planned['live_version']} is"
    say(f"to be certified: version {number} of {name}, {live}")
    say(f"evidence on these weights: {planned['level']} ({planned['looks_at']})")
    for sentence in planned["caveats"]:
        say(("note:", "yellow"), f" {sentence}")
    if not planned["measured"]:
        advise("measure it first:", command("evaluate", f"{name}:{number}"))
    if not is_live:
        advise("for what is live:", command("certificate", "issue", planned["request"], "--live"))


def _write(ctx: typer.Context, data: bytes, file: Path | None, *, force: bool) -> None:
    emit_file(ctx, data, file, force=force, hint="unledger certificate show writes it again")
    if file is not None:
        say(f"wrote {file}")
