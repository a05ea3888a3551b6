"""Erase rows of a SQLite database so that no file of it holds them afterwards.

``secure_delete`` overwrites them in the database itself. The rollback journal holds them too: it keeps what the changed
pages were before. Cutting it to nothing, as every commit does, leaves those bytes in blocks of the disk that are free.
So this one transaction keeps its journal, overwrites it while the database is still locked, and cuts it then.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, Engine

from ledger.durable_files import is_regular, open_regular
from ledger.errors import IntegrityError

from .address import database_file

PIECE = 2**20


@contextmanager
def erasing(writer: Engine) -> Iterator[Connection]:
    """Yield a connection for one transaction that erases something; the journal is overwritten after it.

    Args:
        writer: Its transactions take the write lock as they begin.

    Raises:
        OSError: The journal cannot be overwritten. What is erased is erased in the database, and the same may be done
            again.
    """
    file = database_file(writer.url)
    with writer.connect() as connection:
        if connection.dialect.name != "sqlite" or file is None:
            yield connection
            return
        driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        # Its settings are not those of other connections: it is closed afterwards, not used again.
        connection.detach()
        (mode,) = driver.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            yield connection
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return
        # Others stay locked out after the commit, until the connection is closed.
        driver.execute("PRAGMA locking_mode = EXCLUSIVE")
        (mode,) = driver.execute("PRAGMA journal_mode = PERSIST").fetchone()
        if mode != "persist":
            raise IntegrityError(f"SQLite kept journal_mode at {mode!r} instead of 'persist'", "try again")
        yield connection
        # Only here, after a commit: without its own lock it could be the journal of somebody else's transaction.
        overwrite_journal(Path(f"{file}-journal"))


def overwrite_journal(journal: Path) -> None:
    """Overwrite a journal that no transaction needs any more with zeros, and cut it to nothing."""
    if not is_regular(journal):
        return
    with open_regular(journal, os.O_RDWR) as opened:
        left = os.fstat(opened.fileno()).st_size
        while left > 0:
            left -= opened.write(bytes(min(left, PIECE)))
        opened.flush()
        os.fsync(opened.fileno())
        opened.truncate(0)
        os.fsync(opened.fileno())
