"""What happens in a ledger, told to other processes as it happens, where the database can do that.

PostgreSQL tells whoever listens (``LISTEN`` and ``NOTIFY``) of a transaction once it is committed. What it tells is a
reason to look and no more: nothing rests on it, it may come twice, and it may not come at all, as behind a connection
pooler that lends connections by the transaction. So whoever listens looks from time to time as well. A file tells
nobody.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import wait
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

CHANNEL = "unledger"
TELL = f"pg_notify('{CHANNEL}', %s)"
"""The expression that tells, given :func:`told`."""
MOST = 7000
"""Characters that are told at most; the server takes 8,000 bytes."""
TOGETHER_SECONDS = 0.02
"""After news, so long is waited for more: whoever files hundreds of requests wakes others some dozens of times."""
AGAIN_SECONDS = 30.0
"""Between attempts to listen while the server cannot be reached."""
PATIENCE_SECONDS = 1.0
"""So long is waited for the thread that listened to end."""
Hear = Callable[[frozenset[str]], None]
"""Called with the kinds of what happened; with none where that is not known, and anything may have happened."""

logger = logging.getLogger("unledger.database")


def told(kinds: Iterable[str]) -> str:
    """Return what is told of entries of some kinds."""
    text = " ".join(sorted(set(kinds)))
    return text if len(text) < MOST else ""


class News:
    """Listens to a database in a thread of its own, over a connection of its own, while somebody wants to hear.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._listeners: list[Hear] = []
        self._changing = threading.Lock()
        self._thread: _Listening | None = None

    @contextmanager
    def heard_by(self, hear: Hear) -> Iterator[None]:
        """Call a function with news, from another thread, while the block runs.

        It is called once as soon as somebody listens: what happened before that was told to nobody.
        """
        if self._engine.dialect.name != "postgresql":
            yield
            return
        with self._changing:
            self._listeners.append(hear)
            if self._thread is None:
                self._thread = _Listening(self._engine, self._tell)
            else:
                hear(frozenset())
        try:
            yield
        finally:
            with self._changing:
                self._listeners.remove(hear)
                ended, self._thread = (None, self._thread) if self._listeners else (self._thread, None)
            if ended is not None:
                ended.end()

    def _tell(self, kinds: frozenset[str]) -> None:
        for hear in list(self._listeners):
            hear(kinds)


class _Listening:
    """A thread that listens.

    Args:
        engine: The database.
        tell: Called with news.
    """

    def __init__(self, engine: Engine, tell: Hear) -> None:
        self._engine = engine
        self._failures: tuple[type[Exception], ...] = (SQLAlchemyError, OSError, engine.dialect.loaded_dbapi.Error)
        self._tell = tell
        self._ending, self._end = os.pipe()
        self._thread = threading.Thread(target=self._run, name="news", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Listen no more."""
        # Each end of the pipe is closed by whom it belongs to. The thread may have ended by itself.
        with suppress(BrokenPipeError):
            os.write(self._end, b"!")
        os.close(self._end)
        # A thread that waits for an answer from a server that is away is left to itself.
        self._thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        try:
            self._listen_again_and_again()
        finally:
            os.close(self._ending)

    def _listen_again_and_again(self) -> None:
        while True:
            try:
                with closing(self._connected()) as connection:
                    # What happened while nobody listened was missed.
                    self._tell(frozenset())
                    self._listen(connection)
                    return
            except self._failures as error:
                logger.debug("nobody listens to the database: %s", error)
            if wait([self._ending], AGAIN_SECONDS):
                return

    def _connected(self) -> Any:
        pooled = self._engine.raw_connection()
        connection = pooled.dbapi_connection
        # It is not one to be used for anything else.
        pooled.detach()
        try:
            connection.autocommit = True  # type: ignore[union-attr]
            connection.execute(f"LISTEN {CHANNEL}")  # type: ignore[union-attr]
        except BaseException:
            with suppress(*self._failures):
                connection.close()  # type: ignore[union-attr]
            raise
        return connection

    def _listen(self, connection: Any) -> None:
        while True:
            # Not select(): a busy server has more open files than that can name.
            if self._ending in wait([self._ending, connection]):
                return
            time.sleep(TOGETHER_SECONDS)
            payloads = [one.payload for one in connection.notifies(timeout=0)]
            if payloads:
                known = all(payloads)
                self._tell(frozenset(" ".join(payloads).split()) if known else frozenset())
