"""One transaction with its repositories: committed as a whole or not at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from ledger.audit.verification import ExternalRecord
from ledger.store.audit.appended import Appended
from ledger.store.audit.log import AuditLog
from ledger.store.database.engine import WRITER, database_time, translated
from ledger.store.database.erasure import erasing
from ledger.store.database.integrity import database_problems
from ledger.store.database.kept_connection import KeptConnection
from ledger.store.database.news import News
from ledger.store.database.open_transaction import OpenTransaction, opened
from ledger.store.database.tables import AuditHeadRow
from ledger.store.database.waiting import telling_of_a_wait
from ledger.store.made_once import made_once
from ledger.store.replay.snapshot import SnapshotPlace
from ledger.store.replay.trusted_rows import TrustedRows
from ledger.store.replay.trusted_state import TrustedState, nothing_kept
from ledger.store.repositories.certificates import Certificates
from ledger.store.repositories.checkpoints import Checkpoints
from ledger.store.repositories.class_spaces import ClassSpaces
from ledger.store.repositories.jobs import Jobs
from ledger.store.repositories.kept_results import KeptResults
from ledger.store.repositories.leases import ObjectLeases, new_holder
from ledger.store.repositories.models import Models
from ledger.store.repositories.objects import Objects
from ledger.store.repositories.operations import Operations
from ledger.store.repositories.projections import Projections
from ledger.store.repositories.requests import Requests
from ledger.store.repositories.tokens import Tokens
from ledger.store.repositories.versions import Versions
from ledger.store.repositories.web_sessions import WebSessions
from ledger.store.repositories.webhooks import Webhooks
from ledger.store.repositories.workers import Workers

T = TypeVar("T")


def _of(repository: Callable[[Session], T]) -> made_once[T]:
    """Return a property that makes a repository when it is first asked for: few transactions need more than some."""
    return made_once(lambda tx: repository(tx._open.session))  # noqa: SLF001 - of the class below


class Transaction:
    """The repositories of one open transaction.

    Args:
        transaction: The transaction.
        holder: Who takes leases on objects in it.
        state: What is known of the verified log.
        steady: Whether it sees one state of the database, whatever others commit meanwhile.
    """

    def __init__(self, transaction: OpenTransaction, holder: str, state: TrustedState, *, steady: bool = False) -> None:
        self._open = transaction
        self._holder = holder
        self._state = state
        self._steady = steady
        self.audit = AuditLog(transaction, steady=steady)

    models = _of(Models)
    versions = _of(Versions)
    requests = _of(Requests)
    certificates = _of(Certificates)
    checkpoints = _of(Checkpoints)
    projections = _of(Projections)
    workers = _of(Workers)
    operations = _of(Operations)
    tokens = _of(Tokens)
    web_sessions = _of(WebSessions)
    jobs = _of(Jobs)
    webhooks = _of(Webhooks)
    kept_results = _of(KeptResults)

    @made_once
    def leases(self) -> ObjectLeases:
        """Leases on objects."""
        return ObjectLeases(self._open.session, self._holder, steady=self._steady)

    @made_once
    def objects(self) -> Objects:
        """Rows of stored objects."""
        return Objects(self._open.session, self.leases)

    @made_once
    def class_spaces(self) -> ClassSpaces:
        """Collected class spaces."""
        return ClassSpaces(self._open.session, self.objects)

    @made_once
    def trusted(self) -> TrustedRows:
        """Checks rows against the audit log before something rests on them."""
        return TrustedRows(self._state, self.audit, self.projections)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Undo what the block wrote if it raises, and nothing else of the transaction.

        Raises:
            LedgerError: What the database says, as after the end of a transaction.
        """
        with translated(), self._open.session.begin_nested():
            yield

    def time(self) -> float:
        """Return the time on the database's clock, in seconds since 1970."""
        return float(self._open.connection.scalar(select(database_time())) or 0.0)


class Database:
    """Hands out transactions.

    Args:
        engine: From :func:`ledger.store.database.engine.open_engine`.
        kept: Returns what is known of an audit log from outside the database.
        guard: Called with every transaction that is going to write, once it holds the lock; raises where nothing may
            be written.
        snapshots: Where a snapshot of what the log amounts to is kept for the next process.
    """

    def __init__(
        self,
        engine: Engine,
        kept: Callable[[AuditLog], ExternalRecord] = nothing_kept,
        guard: Callable[[Transaction], None] = lambda _tx: None,
        snapshots: SnapshotPlace | None = None,
    ) -> None:
        self.engine = engine
        self._guard = guard
        self._state = TrustedState(kept, snapshots)
        self.written = Appended()
        """What was appended to the audit log and committed."""
        self.news = News(engine)
        """What others append, as they do."""
        self.holder = new_holder()
        """Who holds the leases on objects that are taken through this."""
        self._writer = engine.execution_options(**{WRITER: True})
        # SQLite readers see one state anyway; PostgreSQL would show each statement the newest.
        self._server = engine.dialect.name == "postgresql"
        self._reader = engine.execution_options(isolation_level="REPEATABLE READ") if self._server else engine
        self._kept = KeptConnection(self._writer)
        self._begun = self._kept.begun if self._server else self._begun_on_file

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a transaction that sees one state of the database and is never committed."""
        with translated(), self._reader.connect() as connection, opened(connection) as transaction:
            yield Transaction(transaction, self.holder, self._state, steady=True)

    @contextmanager
    def write(self, *, guarded: bool = True) -> Iterator[Transaction]:
        """Open a transaction that excludes other writers; commit it unless the block raises.

        Args:
            guarded: Ask the guard first. Only what makes, upgrades, imports or recovers a ledger does without.
        """
        with translated(), self._begun() as begun:
            transaction = Transaction(begun, self.holder, self._state)
            # One lock, taken first and always: writers queue up here instead of deadlocking later.
            with telling_of_a_wait() if self._server else nullcontext():
                transaction.audit.head(lock=True)
            if guarded:
                self._guard(transaction)
            yield transaction
        self.written.add(transaction.audit.appended)

    @contextmanager
    def _begun_on_file(self) -> Iterator[OpenTransaction]:
        with self._writer.begin() as connection, opened(connection) as transaction:
            yield transaction

    def catch_up(self) -> None:
        """Verify the entries of the audit log that are new, so that the next transaction to need that finds it done.

        Who does so before a transaction that writes makes other writers wait less.

        Raises:
            AuditError: The log does not verify.
        """
        with self.read() as tx:
            tx.trusted.catch_up()

    @contextmanager
    def erase(self) -> Iterator[Transaction]:
        """Open a transaction as :meth:`write` does, for what no SQLite file may hold afterwards, journals included."""
        with (
            translated(),
            erasing(self._writer) as connection,
            connection.begin(),
            opened(connection) as begun,
        ):
            transaction = Transaction(begun, self.holder, self._state)
            transaction.audit.head(lock=True)
            self._guard(transaction)
            yield transaction
        self.written.add(transaction.audit.appended)

    @contextmanager
    def touch(self, *, guarded: bool = False) -> Iterator[Transaction]:
        """Open a transaction that writes rows of its own, without a trace in the audit log; commit it at the end.

        On PostgreSQL it waits for no other writer, and with rows that nobody else writes it can be in nobody's way:
        heartbeats come through while a long transaction holds the lock on the audit log.

        Args:
            guarded: Ask the guard first, as :meth:`write` does.
        """
        with translated(), self._writer.begin() as connection, opened(connection) as begun:
            transaction = Transaction(begun, self.holder, self._state)
            if guarded:
                self._guard(transaction)
            yield transaction

    def try_writing(self) -> None:
        """Write a row as it is, in a transaction that is then undone.

        Raises:
            LedgerError: The database cannot be written.
        """
        with translated(), self._writer.connect() as connection:
            connection.execute(update(AuditHeadRow).values(size=AuditHeadRow.size))
            connection.rollback()

    def problems(self) -> list[str]:
        """Return what the database finds wrong with its own file, and rows that refer to nothing."""
        return database_problems(self._reader)

    def close(self) -> None:
        """Close every connection."""
        self._kept.close()
        self.engine.dispose()
