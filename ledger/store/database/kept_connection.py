"""A connection to a server that one writing transaction hands on to the next.

Taking one from the pool and giving it back takes as long as a statement. And what is prepared on this one stays so:
every transaction that only reads is undone, and with it the driver gives up what is prepared.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine

from .open_transaction import OpenTransaction
from .prepared_cursor import PreparedCursor, prepared_cursor


class KeptConnection:
    """Lends connections to transactions, and keeps one while nobody needs it.

    Args:
        engine: Where connections come from, and where those go back to that are not kept.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: list[tuple[Connection, PreparedCursor]] = []

    @contextmanager
    def begun(self) -> Iterator[OpenTransaction]:
        """Begin a transaction; commit it where the block ends well, undo it otherwise."""
        connection, cursor = self._take()
        transaction = OpenTransaction(connection, cursor)
        try:
            yield transaction
            transaction.commit()
            transaction.close()
        except BaseException:
            transaction.close()
            # The pool undoes what is not committed.
            connection.close()
            raise
        if self._kept:
            connection.close()
        else:
            self._kept.append((connection, cursor))

    def close(self) -> None:
        """Give back what is kept."""
        while self._kept:
            self._kept.pop()[0].close()

    def _take(self) -> tuple[Connection, PreparedCursor]:
        if self._kept:
            # Another thread may be faster.
            with suppress(IndexError):
                connection, cursor = self._kept.pop()
                if cursor.is_silent:
                    return connection, cursor
                connection.invalidate()
                connection.close()
        connection = self._engine.connect()
        return connection, prepared_cursor(connection)
