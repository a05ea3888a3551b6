"""The few statements that every writing transaction carries out on a server, prepared once for each connection.

The first one goes to the server together with the ``BEGIN``, and both are answered at once. The driver's own cursor
goes a way for each. Its pipeline would not, but takes more time in Python than it saves.

What was prepared may be gone: the driver deallocates everything of a connection on which it undoes something, and a
pooler may lend another server process for each transaction. The first statement of a transaction finds that out, where
nothing is lost yet, and is then prepared again, with everything after it.
"""

import secrets
import select
from collections.abc import Generator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

if TYPE_CHECKING:
    # The driver is installed where a server is used, and only there.
    from psycopg.pq.abc import PGresult

_KEY = "unledger_prepared"
_STALE_STATES = ("26000", "0A000")
"""The statement is not prepared any more, or its table has changed since."""


def prepared_cursor(connection: Connection) -> "PreparedCursor":
    """Return the cursor of a connection to a server; it lives as long as the driver's connection does."""
    found: PreparedCursor | None = connection.info.get(_KEY)
    if found is None:
        found = connection.info[_KEY] = PreparedCursor(connection.connection.driver_connection)
    return found


def forget_prepared(connection: Connection) -> None:
    """Forget what is prepared on a connection, in a transaction of which a part is undone."""
    if (found := connection.info.get(_KEY)) is not None:
        found.forget()


class PreparedCursor:
    """As much of a driver's cursor as an open transaction uses. It prepares whatever it carries out.

    Args:
        driver: The driver's connection. Its transactions begin with a plain ``BEGIN``.
    """

    def __init__(self, driver: Any) -> None:
        from psycopg import errors, generators, pq
        from psycopg.adapt import PyFormat, Transformer

        self._driver, self._libpq = driver, driver.pgconn
        self._adapt, self._as_text = Transformer(driver), PyFormat.TEXT
        self._one, self._several = generators.execute, generators.fetch_many
        self._error, self._error_of = errors.Error, errors.error_from_result
        self._failed, self._idle, self._good = pq.ExecStatus.FATAL_ERROR, pq.TransactionStatus.IDLE, pq.ConnStatus.OK
        # Others have statements of their own in a server process that a pooler lends.
        self._prefix, self._numbers = f"unledger_{secrets.token_hex(8)}_", count()
        self._names: dict[str, bytes] = {}
        self._result: PGresult | None = None
        self._ear = select.poll()
        self._ear.register(driver.fileno(), select.POLLIN)

    @property
    def rowcount(self) -> int:
        """Number of rows that the last statement changed or found."""
        return 0 if self._result is None else self._result.command_tuples or 0

    @property
    def is_silent(self) -> bool:
        """Whether the server said nothing since it answered last: by itself, it says that the connection ends."""
        return not self._ear.poll(0)

    def execute(self, statement: str, values: Sequence[object]) -> None:
        """Carry out a statement, in a transaction that begins here if none did.

        Raises:
            psycopg.Error: As the driver's cursor raises it.
        """
        sent = self._adapt.dump_sequence(values, [self._as_text] * len(values))
        if self._libpq.transaction_status != self._idle:
            self._libpq.send_query_prepared(self._name(statement), sent)
            self._result = self._answer()
            return
        known = statement in self._names
        try:
            self._result = self._begin_with(statement, sent)
        except self._error as error:
            if not known or error.sqlstate not in _STALE_STATES:
                raise
            self._driver.rollback()
            self.forget()
            self._result = self._begin_with(statement, sent)

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the first row that the last statement found."""
        if self._result is None or not self._result.ntuples:
            return None
        self._adapt.set_pgresult(self._result)
        row: tuple[Any, ...] = self._adapt.load_row(0, tuple)
        return row

    def commit(self) -> None:
        """Commit the transaction, if one was begun.

        Raises:
            psycopg.Error: As the driver raises it.
        """
        if self._libpq.transaction_status != self._idle:
            self._libpq.send_query(b"COMMIT")
            self._answer()

    def forget(self) -> None:
        """Prepare everything again that is carried out from now on."""
        self._names.clear()

    def close(self) -> None:
        """Give up what the last statement found."""
        self._result = None

    def _name(self, statement: str) -> bytes:
        name = self._names.get(statement)
        if name is None:
            name = f"{self._prefix}{next(self._numbers)}".encode()
            self._libpq.send_prepare(name, _numbered(statement))
            self._answer()
            self._names[statement] = name
        return name

    def _begin_with(self, statement: str, values: Sequence[Any]) -> "PGresult":
        libpq, name = self._libpq, self._name(statement)
        libpq.enter_pipeline_mode()
        try:
            libpq.send_query_params(b"BEGIN", None)
            libpq.send_query_prepared(name, values)
            libpq.pipeline_sync()
            begun, found = self._driver.wait(self._answers())
        finally:
            if libpq.status == self._good:
                libpq.exit_pipeline_mode()
        self._checked(begun)
        return self._checked(found)

    def _answers(self) -> "Generator[Any, Any, tuple[PGresult, PGresult]]":
        (begun,) = yield from self._several(self._libpq)
        (found,) = yield from self._several(self._libpq)
        # That the server has come to the end.
        yield from self._several(self._libpq)
        return begun, found

    def _answer(self) -> "PGresult":
        # The driver's own way to wait: it tells the server when a person interrupts it.
        return self._checked(self._driver.wait(self._one(self._libpq))[-1])

    def _checked(self, result: "PGresult") -> "PGresult":
        if result.status == self._failed:
            raise self._error_of(result, self._driver.info.encoding)
        return result


def _numbered(statement: str) -> bytes:
    """Return a statement with its marks as the server wants them: ``$1`` for the first ``%s``."""
    first, *rest = statement.split("%s")
    return (first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))).encode()
