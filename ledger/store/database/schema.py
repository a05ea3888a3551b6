"""The database's schema: which revision it is at, whether this release can use it, and upgrades."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, column, inspect, select, table, text

from ledger.errors import ConflictError, SchemaVersionError

from .engine import WRITER, translated

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "unledger_schema"
UPGRADE_LOCK = 0x756E6C64
"""Number of the advisory lock that upgrades of a PostgreSQL database take; ASCII for "unld"."""
HEAD = "r0003"
"""The revision this release works with: the newest under ``migrations/versions``, which a test compares."""


@contextmanager
def _alembic(connection: Connection) -> Iterator["Config"]:
    # Imported here: alembic costs every command half a second, and only upgrades need it.
    from alembic.config import Config
    from alembic.util.exc import CommandError

    with as_file(files("ledger.migrations")) as scripts:
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        try:
            yield config
        except CommandError as error:
            raise ConflictError(f"the schema's history cannot be followed: {error}", "see: unledger doctor") from error


def current_revision(engine: Engine) -> str | None:
    """Return the database's schema revision, or None if it holds no ledger."""
    with translated(), engine.connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        return connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))


def check_schema(engine: Engine) -> None:
    """Refuse a database that this release cannot use as it is.

    Raises:
        SchemaVersionError: It is empty, older, or newer than this release.
    """
    current = current_revision(engine)
    if current == HEAD:
        return
    if current is None:
        raise SchemaVersionError("the database has no ledger in it", "run: unledger db upgrade")
    if current in _known_revisions(engine):
        raise SchemaVersionError(
            f"the database is at schema {current}, this release wants {HEAD}", "run: unledger db upgrade"
        )
    raise SchemaVersionError(
        f"the database is at schema {current}, which this release does not know: a newer one wrote it",
        "upgrade unledger; nothing was changed",
    )


def _known_revisions(engine: Engine) -> set[str]:
    from alembic.script import ScriptDirectory

    with engine.connect() as connection, _alembic(connection) as config:
        return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def upgrade_schema(engine: Engine, revision: str = HEAD) -> str:
    """Create or upgrade the schema in one transaction, up to a revision; return the revision reached.

    Raises:
        SchemaVersionError: The database belongs to a newer release.
    """
    current = current_revision(engine)
    if current is not None and current not in _known_revisions(engine):
        check_schema(engine)
    from alembic import command

    writer = engine.execution_options(**{WRITER: True})
    with translated(), writer.begin() as connection, _alembic(connection) as config:
        if connection.dialect.name == "postgresql":
            # SQLite's writer holds the only lock already; here, others that upgrade at once must wait.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        # By the name of the end where that is wanted: then several ends are an error.
        command.upgrade(config, "head" if revision == HEAD else revision)
    return revision
