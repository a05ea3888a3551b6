"""One open transaction: its connection at once, and a session on it for those who map rows to objects.

The few statements that every transaction carries out go to the driver as they are. SQLAlchemy's part in a statement
takes about as long as that of a server on the same machine, and a session takes as long as two statements.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ledger.store.made_once import made_once

from .prepared_cursor import PreparedCursor


class OpenTransaction:
    """A transaction on a connection. Whoever opened it commits it or undoes it.

    Args:
        connection: Where it is open.
        prepared: Carries out statements in the driver's own words instead of a cursor of the driver's, and begins the
            transaction with the first one; SQLAlchemy knows of it as soon as it has to.
    """

    def __init__(self, connection: Connection, prepared: PreparedCursor | None = None) -> None:
        self.connection = connection
        self._prepared = prepared
        self.on_server = connection.dialect.name == "postgresql"
        """Whether the database is a server, and not a file."""

    @made_once
    def session(self) -> Session:
        """The session of this transaction. It never ends the transaction by itself, but for undoing it."""
        self._begin()
        return Session(self.connection, expire_on_commit=False, join_transaction_mode="rollback_only")

    @property
    def begun_session(self) -> Session | None:
        """The session, if anybody asked for one."""
        return self.__dict__.get("session")

    @property
    def innermost(self) -> object:
        """The savepoint that statements are carried out under; the transaction where there is none."""
        return self.connection.get_nested_transaction() or self

    def write_out(self) -> None:
        """Write what the session has left to write. Nothing is committed: the transaction is not the session's."""
        if (session := self.begun_session) is not None:
            session.commit()

    def commit(self) -> None:
        """Commit a transaction that nobody else commits.

        Raises:
            DBAPIError: As SQLAlchemy raises it.
        """
        self.write_out()
        if self._prepared is None or self.connection.in_transaction():
            self.connection.commit()
            return
        try:
            self._prepared.commit()
        except self.connection.dialect.loaded_dbapi.Error as error:
            raise self._as_sqlalchemy_tells(error, "COMMIT", ()) from error

    def close(self) -> None:
        """Give up what was used of the connection."""
        if (session := self.begun_session) is not None:
            session.close()
        if (cursor := self.__dict__.get("_cursor")) is not None:
            cursor.close()

    def ask(self, statement: str) -> tuple[Any, ...] | None:
        """Return the first row that a query in the driver's own words finds; None if it finds none.

        Raises:
            DBAPIError: As SQLAlchemy raises it.
        """
        cursor = self._by_driver("execute", statement, ())
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row

    def change(self, statement: str, values: Sequence[object]) -> int:
        """Carry out a statement in the driver's own words; return the number of rows that it changed.

        Raises:
            DBAPIError: As SQLAlchemy raises it.
        """
        changed: int = self._by_driver("execute", statement, values).rowcount
        return changed

    def change_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Carry out a statement in the driver's own words once for each of some rows.

        Raises:
            DBAPIError: As SQLAlchemy raises it.
        """
        self._by_driver("executemany", statement, rows)

    def _by_driver(self, method: str, statement: str, values: Sequence[Any]) -> Any:
        cursor = self._cursor
        try:
            getattr(cursor, method)(statement, values)
        except self.connection.dialect.loaded_dbapi.Error as error:
            raise self._as_sqlalchemy_tells(error, statement, values) from error
        return cursor

    @made_once
    def _cursor(self) -> Any:
        if self._prepared is not None:
            return self._prepared
        self._begin()
        return self.connection.connection.cursor()

    def _begin(self) -> None:
        # A transaction on SQLite begins in a way of its own; and one that a session began, it would also commit.
        if not self.connection.in_transaction():
            self.connection.begin()

    def _as_sqlalchemy_tells(self, error: Exception, statement: str, values: Sequence[Any]) -> BaseException:
        connection, dialect = self.connection, self.connection.dialect
        gone = dialect.is_disconnect(error, connection.connection.dbapi_connection, self._cursor)  # type: ignore[arg-type]
        if gone:
            # Other connections that nobody uses right now are gone as well, most likely.
            connection.invalidate(error)
            connection.engine.dispose()
        base = dialect.loaded_dbapi.Error
        return DBAPIError.instance(statement, values, error, base, connection_invalidated=gone, dialect=dialect)


@contextmanager
def opened(connection: Connection) -> Iterator[OpenTransaction]:
    """Yield the transaction that a connection is in; where the block ends well, everything of it is written."""
    transaction = OpenTransaction(connection)
    try:
        yield transaction
        transaction.write_out()
    finally:
        transaction.close()
