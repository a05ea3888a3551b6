"""``unledger exporter``: where live versions are put."""

from typing import Annotated

import typer

from ledger.documents import exporters as documents
from ledger.domain.command_lines import command
from ledger.errors import LedgerError

from ..answers import answer, answered
from ..live_exports import tell
from ..options import Json
from ..render import advise, emit_table, minute, say
from ..session import session

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the exporter is called.")]
app = typer.Typer(no_args_is_help=True, help="Exporters: places that live versions are put to.")


@app.command("add")
def add_exporter(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    spec: Annotated[
        str, typer.Argument(metavar="SPEC", help="folder:PATH, mlflow:URI, or what an installed plugin knows.")
    ],
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="MODEL", help="Only this model; repeatable. Else all.")
    ] = None,
    hide_forgotten: Annotated[
        bool, typer.Option("--hide-forgotten", help="Leave out the labels of forgotten classes.")
    ] = False,
    json: Json = False,
) -> None:
    """Put what is live to a place, now and whenever that changes; for this machine."""
    from ledger.service.exporters import configured

    with session(ctx).ledger(acts=True) as ledger:
        added = configured.add_exporter(ledger, name, spec, tuple(model or ()), hide_forgotten=hide_forgotten)
    if json:
        answer(ctx, documents.exporter_document(added))
        return
    say(f"live versions of {', '.join(added.models) or 'every model'} are put to {added.spec}")
    advise("next:", command("exporter", "run", added.name))


@app.command("list")
def list_exporters(ctx: typer.Context, json: Json = False) -> None:
    """List the exporters of this machine."""
    from ledger.service.exporters import configured

    found = configured.list_exporters(session(ctx).config)
    if json:
        answer(ctx, documents.exporters_document(found))
        return
    emit_table(
        ["name", "~place", "~models", "added"],
        ([one.name, one.spec, ", ".join(one.models) or "all", minute(one.added_at)] for one in found),
    )


@app.command("status")
def show_status(ctx: typer.Context, json: Json = False) -> None:
    """Show what each exporter has, and what is behind; exit with 1 if one failed."""
    from ledger.service.exporters import configured, delivery

    with session(ctx).ledger() as ledger:
        found = [(one, delivery.behind(ledger, one)) for one in configured.list_exporters(ledger.config)]
    failed = [one for one, _ in found if one.attempts]
    if json:
        answer(ctx, documents.exporter_status_document(found))
    else:
        emit_table(
            ["name", "model", "#has", "#live", "when", "#failures", "~last"],
            (
                [
                    one.name,
                    model,
                    one.told[model].version if model in one.told else None,
                    late.get(model, one.told[model].version if model in one.told else None),
                    minute(one.told[model].at) if model in one.told else "",
                    one.attempts,
                    one.detail,
                ]
                for one, late in found
                for model in sorted({*one.told, *late})
            ),
        )
    if failed:
        answered(ctx)
        raise LedgerError(f"exporter {failed[0].name} failed: {failed[0].detail}", command("exporter", "run"))


@app.command("run")
def run_exporters(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this exporter.")] = None,
    json: Json = False,
) -> None:
    """Let exporters catch up now, those that wait after a failure included; exit with 1 if one fails."""
    from ledger.service.exporters import configured, delivery

    with session(ctx).ledger(acts=True) as ledger:
        if name is not None:
            configured.get_exporter(ledger.config, name)
        done = delivery.export_due(ledger, only=name, now=True)
    if json:
        answer(ctx, documents.exported_live_document(done))
    failed = [one for one in done if not one.ok]
    for one in done:
        if one.ok:
            tell(one)
    if failed:
        answered(ctx)
        raise LedgerError(f"exporter {failed[0].exporter} failed: {failed[0].detail}", command("exporter", "status"))
    if not done:
        say("nothing to do")


@app.command("remove")
def remove_exporter(ctx: typer.Context, name: Name, json: Json = False) -> None:
    """Put nothing to a place any more; what is there stays."""
    from ledger.service.exporters import configured

    removed = configured.remove_exporter(session(ctx).config, name)
    if json:
        answer(ctx, documents.exporter_document(removed))
    else:
        say(f"nothing is put to {removed.spec} any more; what is there stays")
