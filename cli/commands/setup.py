"""Commands about the ledger itself: create it, check it, migrate it, list its plugins."""

from pathlib import Path
from typing import Annotated

import typer

from ledger import installation
from ledger.documents import upkeep as documents
from ledger.domain.command_lines import quoted
from ledger.errors import ConflictError, NotFoundError

from ..answers import answer
from ..options import Json
from ..render import emit_table, say
from ..session import session

db_app = typer.Typer(no_args_is_help=True, help="The database's schema.")


def init(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the ledger shall live.")] = Path(),
    db: Annotated[
        str, typer.Option(help="Database: sqlite:///FILE (relative to DIR) or postgresql+psycopg://...")
    ] = "sqlite:///ledger.db",
    store: Annotated[
        str, typer.Option(help="Folder for weights and class spaces, relative to DIR, or s3://BUCKET/PREFIX.")
    ] = "objects",
    time_zone: Annotated[
        str, typer.Option(metavar="ZONE", help="Where days begin and end, e.g. Europe/Berlin; times are shown in it.")
    ] = "UTC",
    json: Json = False,
) -> None:
    """Create a ledger in a folder."""
    from ledger.service.ledger import init_ledger

    config = init_ledger(folder, db, store, session(ctx).who, time_zone=time_zone)
    if json:
        answer(ctx, documents.created_document(config.root))
    say(f"created a ledger in {config.root}")
    # Elsewhere, later commands would look in the current folder.
    there = "" if folder == Path() else f" -L {quoted(str(folder))}"
    say(f"next: unledger{there} model add NAME --arch ... --weights FILE --data SPEC")


def doctor(ctx: typer.Context, json: Json = False) -> None:
    """Check that everything a ledger needs is there and works."""
    from ledger.service.upkeep.doctor import doctor as check_all

    checks = check_all(session(ctx).config)
    if json:
        answer(ctx, documents.checks_document(checks))
    else:
        emit_table(["check", "", "~detail"], [(c.name, "ok" if c.ok else "FAILED", c.detail) for c in checks])
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@db_app.command("current")
def db_current(ctx: typer.Context, json: Json = False) -> None:
    """Print the schema revision of the database and of this release."""
    from ledger.service.upkeep.schema import schema_state

    state = schema_state(session(ctx).config)
    if json:
        answer(ctx, documents.schema_document(state))
    else:
        emit_table(["database", "this release"], [(state.current or "empty", state.wanted)])


@db_app.command("check")
def db_check(ctx: typer.Context, json: Json = False) -> None:
    """Exit with 4 unless the database fits this release."""
    from ledger.service.upkeep.schema import require_current_schema

    state = require_current_schema(session(ctx).config)
    if json:
        answer(ctx, documents.schema_document(state))
    say("the schema is up to date")


@db_app.command("upgrade")
def db_upgrade(ctx: typer.Context, json: Json = False) -> None:
    """Bring the database's schema up to this release, in one transaction."""
    from ledger.service.upkeep.schema import upgrade

    state = upgrade(session(ctx).config, session(ctx).who)
    if json:
        answer(ctx, documents.schema_document(state))
    say(f"the schema is at {state.wanted}")


def plugins(
    ctx: typer.Context,
    json: Json = False,
    check: Annotated[bool, typer.Option(help="Exit with 4 if one is broken.")] = False,
) -> None:
    """List plugins: model loaders, data sources, layer handlers, evaluators."""
    from ledger.service.upkeep.plugins import list_plugins

    try:
        config = session(ctx).config
    except NotFoundError:
        config = None
    listed = list_plugins(config)
    infos = listed.infos
    if json:
        answer(ctx, documents.plugins_document(infos))
    else:
        rows = (
            (
                i.name,
                i.version,
                "built in" if i.builtin else "installed",
                i.error or ", ".join(h.removeprefix("unledger_") for h in i.hooks),
            )
            for i in infos
        )
        emit_table(["plugin", "version", "origin", "~hooks"], rows)
        say(listed.selection)
    if any(info.builtin and info.error for info in infos):
        say(f"the built-in plugins need the engine: {installation.install('engine')}")
    broken = [info for info in infos if info.broken]
    for info in broken:
        say(("warning:", "yellow"), f" plugin {info.name} is not in use: {info.error}")
    if check and broken:
        raise ConflictError(f"{len(broken)} plugins are broken", "update or uninstall them")
