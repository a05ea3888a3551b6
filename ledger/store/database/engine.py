"""Open a database safely: SQLite settings that are read back, one clock, errors in our own words."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import URL, Connection, Engine, Float, create_engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoResultFound, NoSuchModuleError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.functions import GenericFunction

from ledger.errors import (
    BusyError,
    IntegrityError,
    LedgerError,
    RowError,
    SchemaVersionError,
    UnreachableError,
    UsageError,
)

from .address import database_file, read_url
from .prepared_cursor import forget_prepared
from .sqlite_limits import check_file_system, check_journal
from .tables import unreadable
from .waiting import PATIENCE_MS, wait_for_lock

WRITER = "unledger_writer"
DEEPEST = 100
"""Levels of JSON that a column holds at most; what takes values apart goes down level by level."""
JOURNAL_MODE = "journal_mode"
BUSY_TIMEOUT = "busy_timeout"
PRAGMAS: dict[str, int | str] = {
    BUSY_TIMEOUT: PATIENCE_MS,
    JOURNAL_MODE: "truncate",
    "synchronous": 2,
    "foreign_keys": 1,
    "secure_delete": 1,
}
"""``synchronous`` 2 is FULL. ``secure_delete`` overwrites what is erased, as not every build does by itself.
Write-ahead logging is for those who ask for it with ``?journal_mode=wal``, and only with a version of SQLite that is
safe in it."""
BUSY_STATES = ("40001", "40P01", "55P03")
"""PostgreSQL: serialization failure, deadlock, lock not available. The transaction was undone."""
GONE_STATES = ("08", "57P")
"""PostgreSQL: how codes begin that say the connection or the server is gone."""


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


def open_engine(url: str | URL) -> Engine:
    """Return an engine for ``sqlite:///PATH[?journal_mode=wal]`` or ``postgresql+psycopg://...``.

    Raises:
        UsageError: The URL names no database we support, or its driver is not installed.
        RefusedError: SQLite on a network file system, or in a mode that its version is not safe in.
    """
    journal = str(PRAGMAS[JOURNAL_MODE])
    try:
        parsed = read_url(url) if isinstance(url, str) else url
        backend = parsed.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise UsageError(f"{backend} is not supported", "use sqlite:///PATH or postgresql+psycopg://...")
        if backend == "sqlite":
            journal = str(parsed.query.get(JOURNAL_MODE, journal)).lower()
            check_journal(journal)
            check_file_system(parsed.database)
            parsed = parsed.difference_update_query([JOURNAL_MODE])
        engine = create_engine(parsed, json_deserializer=_read_json)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise UsageError(f"{str(url)!r} is not a database URL: {error}") from error
    except ModuleNotFoundError as error:
        raise UsageError(f"the database driver {error.name} is missing", "pip install 'unledger[postgres]'") from error
    if backend == "sqlite":
        file = database_file(parsed)
        if file is not None:
            event.listen(engine, "do_connect", partial(_make_private, file))
        event.listen(engine, "connect", partial(_prepare_sqlite, {**PRAGMAS, JOURNAL_MODE: journal}))
        event.listen(engine, "begin", _begin_sqlite)
        # Not an event: what fails here must be undone as a commit that failed.
        engine.dialect.do_commit = _commit_sqlite  # type: ignore[assignment]
    else:
        event.listen(engine, "connect", _prepare_postgres)
        # Not an event either: whoever listens makes every transaction ask who does.
        engine.dialect.do_rollback_to_savepoint = partial(_undo_on_server, engine.dialect.do_rollback_to_savepoint)  # type: ignore[method-assign]
    return engine


def _make_private(file: Path, *_: object) -> None:
    """Create the file of a new database for its owner alone; SQLite gives its journals the same permissions."""
    # What stands in the way of that, SQLite says better when it opens the file.
    with suppress(OSError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _prepare_sqlite(pragmas: dict[str, int | str], connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin or commit on its own: it would do so around schema changes too.
    connection.isolation_level = None
    # First, since changing the journal's mode waits for locks already.
    connection.execute(f"PRAGMA {BUSY_TIMEOUT} = {pragmas[BUSY_TIMEOUT]}")
    wait_for_lock(connection, partial(_set_pragmas, connection, pragmas))


def _set_pragmas(connection: sqlite3.Connection, pragmas: dict[str, int | str]) -> None:
    wanted = {name: value for name, value in pragmas.items() if name != BUSY_TIMEOUT}
    for name, value in wanted.items():
        connection.execute(f"PRAGMA {name} = {value}")
    for name, value in wanted.items():
        (actual,) = connection.execute(f"PRAGMA {name}").fetchone()
        if actual != value:
            raise IntegrityError(f"SQLite kept {name} at {actual!r} instead of {value!r}", "use a local disk")


def _read_json(content: object) -> Any:
    if not isinstance(content, str | bytes):
        # SQLite keeps digits in such a column as a number; SQLAlchemy takes this for what it is.
        raise TypeError(content)
    text = content
    try:
        # PostgreSQL's driver hands out bytes.
        text = content if isinstance(content, str) else content.decode()
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unreadable(text) from error
    # Few values have so many parts that they could be nested as deeply.
    if text.count("[") + text.count("{") > DEEPEST and _is_deep(value):
        raise unreadable(text)
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [item for items in inner for item in items]
        if not level:
            return False
    return True


def _begin_sqlite(connection: Connection) -> None:
    driver: Any = connection.connection.dbapi_connection
    if connection.get_execution_options().get(WRITER, False):
        # A writer takes the lock at once: one that begins by reading cannot always upgrade later.
        wait_for_lock(driver, lambda: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return
    connection.exec_driver_sql("BEGIN")
    # A reader likewise waits here, if it must, and nowhere later.
    wait_for_lock(driver, lambda: connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").fetchall())


def _commit_sqlite(connection: PoolProxiedConnection) -> None:
    # A commit waits for readers.
    driver: Any = connection.dbapi_connection
    wait_for_lock(driver, connection.commit)


def _prepare_postgres(connection: Any, _record: object) -> None:
    # Outside a transaction, or the first one that is undone would undo this too.
    before, connection.autocommit = connection.autocommit, True
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {PATIENCE_MS}")
    connection.autocommit = before


def _undo_on_server(undo: Callable[[Connection, str], None], connection: Connection, name: str) -> None:
    forget_prepared(connection)
    undo(connection, name)


class translated:  # noqa: N801 - used as a function is
    """Turns driver errors into the ledger's own."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Raise what an error means, if it is the database's."""
        if isinstance(error, NoResultFound):
            raise RowError(
                "a row of the database refers to one that is not there",
                "see all differences with: unledger fsck, and restore the row or the database",
            ) from error
        if isinstance(error, DBAPIError):
            _raise_translated(error)


def _raise_translated(error: DBAPIError) -> NoReturn:
    text = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
    lowered = text.lower()
    state = getattr(error.orig, "sqlstate", None) or ""
    if "locked" in lowered or state in BUSY_STATES:
        raise BusyError(f"the database is busy: {text}", "try again; PostgreSQL suits many writers") from error
    if error.connection_invalidated or state.startswith(GONE_STATES) or (not state and "connection" in lowered):
        raise UnreachableError(f"the database cannot be opened: {text}", "see: unledger doctor") from error
    if "readonly" in lowered or "read-only" in lowered:
        raise LedgerError(
            f"the database cannot be written: {text}", "check permissions of the ledger's folder"
        ) from error
    if "disk is full" in lowered or "no space" in lowered or "disk i/o" in lowered:
        raise LedgerError(f"the database cannot be written: {text}", "free some disk space and try again") from error
    if "malformed" in lowered or "not a database" in lowered:
        raise IntegrityError(f"the database is damaged: {text}", "restore it from a backup") from error
    if "no such table" in lowered or state == "42P01":
        raise SchemaVersionError(f"the database has no ledger in it: {text}", "run: unledger db upgrade") from error
    if "unable to open" in lowered:
        raise LedgerError(f"the database cannot be opened: {text}", "see: unledger doctor") from error
    raise LedgerError(f"the database refused: {text}") from error
