"""The database as one transaction sees it, written to a file; and put back from such a file.

A SQLite database is written by ``VACUUM INTO``, which reads in one transaction while others read and write, and leaves
out the remains of deleted rows. Copying the file itself would tear it. Other databases are written as rows.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine, inspect, text

from ledger.durable_files import sync_file, write_file
from ledger.errors import ConflictError
from ledger.store.database.address import sqlite_url
from ledger.store.database.engine import WRITER, open_engine, translated
from ledger.store.database.open_transaction import opened
from ledger.store.database.schema import HEAD, current_revision, upgrade_schema
from ledger.store.replay.trusted_state import TrustedState
from ledger.store.unit_of_work import Database, Transaction

from .manifest import ROWS, SQLITE
from .rows import dump_rows, load_rows

T = TypeVar("T")
SUFFIXES = {SQLITE: ".sqlite", ROWS: ".jsonl"}


def take_snapshot(engine: Engine, target: Path, look: Callable[[Transaction], T]) -> tuple[str, T]:
    """Write the database to a new file of its owner alone.

    Args:
        engine: The database.
        target: The file.
        look: Given the repositories as the same transaction sees them.

    Returns:
        The form of the file, and what ``look`` returned.

    Raises:
        BusyError: Others held the database all the time.
        LedgerError: The file cannot be written.
    """
    if engine.dialect.name == "sqlite":
        write_file(target, [], mode=0o600)
        with translated(), engine.connect() as connection:
            # The statement begins a transaction of its own.
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("VACUUM INTO ?", (str(target),))
        sync_file(target)
        # Looked at in the copy: others wait for nobody meanwhile.
        copy = Database(open_engine(sqlite_url(target)))
        try:
            with copy.read() as tx:
                return SQLITE, look(tx)
        finally:
            copy.close()
    schema = current_revision(engine) or ""
    with translated(), engine.execution_options(isolation_level="REPEATABLE READ").connect() as connection:
        write_file(target, dump_rows(connection, schema), mode=0o600)
        with opened(connection) as transaction:
            return ROWS, look(Transaction(transaction, "", TrustedState()))


def require_empty(engine: Engine) -> None:
    """Refuse to restore into a database that holds something.

    Raises:
        ConflictError: It has tables.
    """
    with translated(), engine.connect() as connection:
        tables = inspect(connection).get_table_names()
    if tables:
        raise ConflictError(
            f"the database is not empty: it has a table {tables[0]}", "name an empty database; nothing was changed"
        )


def put_back(file: Path, form: str, schema: str, engine: Engine) -> None:
    """Fill an empty database from a file, and bring it up to this release.

    Args:
        file: As :func:`take_snapshot` wrote it.
        form: What it is.
        schema: Revision of its schema.
        engine: The database to fill.

    Raises:
        IntegrityError: The file is damaged.
    """
    upgrade_schema(engine, schema if form == ROWS else HEAD)
    with translated(), engine.execution_options(**{WRITER: True}).begin() as connection:
        load_rows(connection, _lines(file, form))
    upgrade_schema(engine)


def _lines(file: Path, form: str) -> Iterator[bytes]:
    if form == ROWS:
        with file.open("rb") as lines:
            yield from lines
        return
    source = open_engine(sqlite_url(file))
    try:
        # Its rows are read as this release knows them; the file is a copy made for this.
        upgrade_schema(source)
        with translated(), source.connect() as connection:
            yield from dump_rows(connection, HEAD)
    finally:
        source.dispose()


def clear(engine: Engine) -> None:
    """Take back what :func:`put_back` wrote into a database that was empty before."""
    with translated(), engine.begin() as connection:
        for name in inspect(connection).get_table_names():
            connection.execute(text(f'DROP TABLE "{name}" CASCADE'))
        if connection.dialect.name == "postgresql":
            query = (
                "SELECT CAST(CAST(oid AS regprocedure) AS text) FROM pg_proc "
                "WHERE pronamespace = CAST(current_schema() AS regnamespace)"
            )
            for function in connection.scalars(text(query)).all():
                connection.execute(text(f"DROP FUNCTION {function} CASCADE"))
