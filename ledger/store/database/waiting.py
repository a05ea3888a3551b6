"""Waiting for a database that another process holds: not for ever, and not without a word."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

T = TypeVar("T")
PATIENCE_MS = 15_000
"""The longest wait for a lock, in milliseconds."""
SILENCE_MS = 2_000
"""How long a wait goes on before it is told of, in milliseconds."""
TEXT = "waiting for the database, which another process holds"

# Without any handler, Python writes warnings to stderr as they are: that is what a person at the command line sees.
logger = logging.getLogger("unledger.database")


def wait_for_lock(connection: sqlite3.Connection, act: Callable[[], T]) -> T:
    """Do something that SQLite may have to wait for, as long as the connection's ``busy_timeout`` says; tell of it.

    Args:
        connection: The driver's own.
        act: What to do; done again if the first try ended because of a lock.

    Raises:
        sqlite3.Error: As ``act`` raises it, the lock that did not go away included.
        DBAPIError: Likewise.
    """
    (whole,) = connection.execute("PRAGMA busy_timeout").fetchone()
    silent = min(whole, SILENCE_MS)
    connection.execute(f"PRAGMA busy_timeout = {silent}")
    try:
        try:
            return act()
        except (sqlite3.OperationalError, DBAPIError) as error:
            if silent == whole or "locked" not in str(error).lower():
                raise
        logger.warning(TEXT)
        connection.execute(f"PRAGMA busy_timeout = {whole - silent}")
        return act()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {whole}")


@contextmanager
def telling_of_a_wait() -> Iterator[None]:
    """Tell of it if the block takes long, for a server that waits on its own side."""
    timer = threading.Timer(SILENCE_MS / 1000, logger.warning, [TEXT])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
