"""Commands about the ledger itself: create it, check it, migrate it, list its plugins."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.errors import ConflictError, LedgerError

from ..documents import document, listing
from ..render import emit_json, emit_table, say
from ..session import session

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
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
) -> None:
    """Create a ledger in a folder."""
    from ledger.config import FILE, create_config
    from ledger.service.ledger import create_ledger

    config = create_config(folder, db, store)
    try:
        create_ledger(config, session(ctx).who).close()
    except LedgerError:
        (config.root / FILE).unlink()
        raise
    say(f"created a ledger in {config.root}")
    say("next: unledger model add NAME --arch ... --weights ... --data ...")


def doctor(ctx: typer.Context, json: Json = False) -> None:
    """Check that everything a ledger needs is there and works."""
    from ledger.config import find_config
    from ledger.service.upkeep.doctor import doctor as check_all

    checks = check_all(find_config(session(ctx).folder))
    if json:
        emit_json(listing("checks", (vars(check) for check in checks)))
    else:
        emit_table(["check", "", "~detail"], [(c.name, "ok" if c.ok else "FAILED", c.detail) for c in checks])
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@db_app.command("current")
def db_current(ctx: typer.Context, json: Json = False) -> None:
    """Print the schema revision of the database and of this release."""
    from ledger.config import find_config
    from ledger.store.database.engine import open_engine
    from ledger.store.database.schema import HEAD, current_revision

    current = current_revision(open_engine(find_config(session(ctx).folder).database_url))
    if json:
        emit_json(document("schema", {"current": current, "wanted": HEAD}))
    else:
        emit_table(["database", "this release"], [(current or "empty", HEAD)])


@db_app.command("check")
def db_check(ctx: typer.Context) -> None:
    """Exit with 4 unless the database fits this release."""
    from ledger.config import find_config
    from ledger.store.database.engine import open_engine
    from ledger.store.database.schema import check_schema

    check_schema(open_engine(find_config(session(ctx).folder).database_url))
    say("the schema is up to date")


@db_app.command("upgrade")
def db_upgrade(ctx: typer.Context) -> None:
    """Bring the database's schema up to this release, in one transaction."""
    from ledger.config import find_config
    from ledger.service.ledger import create_ledger
    from ledger.store.database.schema import HEAD

    create_ledger(find_config(session(ctx).folder), session(ctx).who).close()
    say(f"the schema is at {HEAD}")


def plugins(
    json: Json = False, check: Annotated[bool, typer.Option(help="Exit with 4 if one is broken.")] = False
) -> None:
    """List plugins: model loaders, data sources, layer handlers, evaluators."""
    from ledger.plugin_manager import build_plugins

    infos = build_plugins().infos
    if json:
        emit_json(listing("plugins", (vars(info) for info in infos)))
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
    broken = [info for info in infos if info.error]
    for info in broken:
        say(("warning:", "yellow"), f" plugin {info.name} is not in use: {info.error}")
    if check and broken:
        raise ConflictError(f"{len(broken)} plugins are broken", "update or uninstall them")
