"""Open a database safely: SQLite settings that are read back, schema version checks, upgrades."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, Float, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from ledger.errors import ConflictError, IntegrityError, LedgerError, RetryLaterError, SchemaVersionError, UsageError

VERSION_TABLE = "unledger_schema"
BUSY_TIMEOUT_MS = 30_000
WRITER = "unledger_writer"
PRAGMAS = {"journal_mode": "truncate", "synchronous": 2, "foreign_keys": 1, "busy_timeout": BUSY_TIMEOUT_MS}
"""``synchronous`` 2 is FULL. Write-ahead logging stays off: SQLite before 3.51.3 can corrupt a database
in that mode when several processes write and checkpoint (sqlite.org/wal.html#walresetbug)."""


class database_time(GenericFunction[float]):  # noqa: N801 - it is a SQL function
    """Seconds since 1970 on the database's clock, which all workers share."""

    type = Float()
    inherit_cache = True


@compiles(database_time, "sqlite")
def _sqlite_time(_element: Any, _compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_time, "postgresql")
def _postgres_time(_element: Any, _compiler: Any, **_: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


def open_engine(url: str) -> Engine:
    """Return an engine for ``sqlite:///PATH`` or ``postgresql+psycopg://...``.

    Raises:
        UsageError: The URL names no database we support, or its driver is not installed.
    """
    try:
        backend = make_url(url).get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise UsageError(f"{backend} is not supported", "use sqlite:///PATH or postgresql+psycopg://...")
        engine = create_engine(url)
    except (ArgumentError, NoSuchModuleError) as error:
        raise UsageError(f"{url!r} is not a database URL: {error}") from error
    except ModuleNotFoundError as error:
        raise UsageError(f"the database driver {error.name} is missing", "pip install 'unledger[postgres]'") from error
    if backend == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin or commit on its own: it would do so around schema changes too.
    connection.isolation_level = None
    for name, value in PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {value}")
    for name, value in PRAGMAS.items():
        (actual,) = connection.execute(f"PRAGMA {name}").fetchone()
        if actual != value:
            raise IntegrityError(f"SQLite kept {name} at {actual!r} instead of {value!r}", "use a local disk")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: one that begins by reading cannot always upgrade later.
    writer = connection.get_execution_options().get(WRITER, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


@contextmanager
def translated() -> Iterator[None]:
    """Turn driver errors into the ledger's own."""
    try:
        yield
    except DBAPIError as error:
        text = str(error.orig).strip().splitlines()[0]
        lowered = text.lower()
        if "locked" in lowered or getattr(error.orig, "sqlstate", None) in ("40001", "40P01", "55P03"):
            raise RetryLaterError(
                f"the database is busy: {text}", "try again; PostgreSQL suits many writers"
            ) from error
        if "readonly" in lowered or "read-only" in lowered:
            raise LedgerError(
                f"the database cannot be written: {text}", "check permissions of the ledger's folder"
            ) from error
        if "disk is full" in lowered or "no space" in lowered or "disk i/o" in lowered:
            raise LedgerError(
                f"the database cannot be written: {text}", "free some disk space and try again"
            ) from error
        if "malformed" in lowered or "not a database" in lowered:
            raise IntegrityError(f"the database is damaged: {text}", "restore it from a backup") from error
        if "no such table" in lowered or getattr(error.orig, "sqlstate", None) == "42P01":
            raise SchemaVersionError(f"the database has no ledger in it: {text}", "run: unledger db upgrade") from error
        if "unable to open" in lowered or "connection" in lowered:
            raise LedgerError(f"the database cannot be opened: {text}", "see: unledger doctor") from error
        raise LedgerError(f"the database refused: {text}") from error


@contextmanager
def _alembic(connection: Connection) -> Iterator[Config]:
    with as_file(files("ledger.migrations")) as scripts:
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        yield config


def schema_revisions(engine: Engine) -> tuple[str | None, str]:
    """Return the database's schema revision (None if empty) and the one this release wants."""
    with translated(), engine.connect() as connection, _alembic(connection) as config:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        head = ScriptDirectory.from_config(config).get_current_head()
        if head is None:
            raise LedgerError("this installation holds no migrations", "reinstall unledger")
        return context.get_current_revision(), head


def check_schema(engine: Engine) -> None:
    """Refuse a database that this release cannot use as it is.

    Raises:
        SchemaVersionError: It is empty, older, or newer than this release.
    """
    current, head = schema_revisions(engine)
    if current == head:
        return
    if current is None:
        raise SchemaVersionError("the database has no ledger in it", "run: unledger init")
    if current in _known_revisions(engine):
        raise SchemaVersionError(
            f"the database is at schema {current}, this release wants {head}", "run: unledger db upgrade"
        )
    raise SchemaVersionError(
        f"the database is at schema {current}, which this release does not know: a newer one wrote it",
        "upgrade unledger; nothing was changed",
    )


def _known_revisions(engine: Engine) -> set[str]:
    with engine.connect() as connection, _alembic(connection) as config:
        return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def upgrade_schema(engine: Engine) -> str:
    """Create or upgrade the schema in one transaction; return the revision reached.

    Raises:
        SchemaVersionError: The database belongs to a newer release.
    """
    current, head = schema_revisions(engine)
    if current is not None and current not in _known_revisions(engine):
        check_schema(engine)
    writer = engine.execution_options(**{WRITER: True})
    try:
        with translated(), writer.begin() as connection, _alembic(connection) as config:
            command.upgrade(config, "head")
    except CommandError as error:
        raise ConflictError(f"the schema cannot be upgraded: {error}") from error
    return head
