"""Waiting for a database that another process holds: not for ever, and not without a word."""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

T = TypeVar("T")
PATIENCE_MS = 15_000
"""The longest wait for a lock, in milliseconds."""
SILENCE_MS = 2_000
"""How long a wait goes on before it is told of, in milliseconds."""
LOOKS = 8
"""How often that time is divided: a wait is told of this part of it later at most."""
QUIET_LOOKS = 100
"""After so many looks without a wait, nobody looks any more until the next one."""
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


class _Watch:
    """Tells of waits that take long, from one thread for all: one for each would cost more than most of the waits.

    The thread looks several times in the time after which it tells of a wait. It ends when there were none for a while.
    """

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        """Forget everything, in a process that was just forked: other threads and what they held stayed behind."""
        self._began: dict[object, float] = {}
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self) -> object:
        """Watch a wait; return what :meth:`end` wants."""
        wait = object()
        self._began[wait] = time.monotonic()
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="waits", daemon=True)
                    self._thread.start()
        return wait

    def end(self, wait: object) -> None:
        """Watch a wait no more."""
        self._began.pop(wait, None)

    def _run(self) -> None:
        quiet = 0
        while quiet < QUIET_LOOKS:
            time.sleep(SILENCE_MS / 1000 / LOOKS)
            quiet = 0 if self._began else quiet + 1
            self._tell()
        self._thread = None
        # A wait that began meanwhile, and found this thread still there.
        while self._began and self._thread is None:
            time.sleep(SILENCE_MS / 1000 / LOOKS)
            self._tell()

    def _tell(self) -> None:
        told_before = time.monotonic() - SILENCE_MS / 1000
        for wait, began in list(self._began.items()):
            if began <= told_before and self._began.pop(wait, None) is not None:
                logger.warning(TEXT)


_WATCH = _Watch()
os.register_at_fork(after_in_child=_WATCH.start_afresh)


class telling_of_a_wait:  # noqa: N801 - used as a function is
    """Tells of it if the block takes long, for a server that waits on its own side."""

    def __enter__(self) -> None:
        """Watch."""
        self._wait = _WATCH.begin()

    def __exit__(self, *_: object) -> None:
        """Watch no more."""
        _WATCH.end(self._wait)
