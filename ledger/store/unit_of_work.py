"""One transaction with its repositories: committed as a whole or not at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from ledger.audit.verification import ExternalRecord
from ledger.store.audit.appended import Appended
from ledger.store.audit.log import AuditLog
from ledger.store.database.engine import WRITER, database_time, translated
from ledger.store.database.erasure import erasing
from ledger.store.database.integrity import database_problems
from ledger.store.database.tables import AuditHeadRow
from ledger.store.database.waiting import telling_of_a_wait
from ledger.store.replay.snapshot import SnapshotPlace
from ledger.store.replay.trusted_state import TrustedRows, TrustedState, nothing_kept
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


class Transaction:
    """The repositories of one open transaction.

    Args:
        session: The transaction.
        holder: Who holds the leases on objects that it takes.
        state: What is known of the verified log.
        steady: Whether it sees one state of the database, whatever others commit meanwhile.
    """

    def __init__(self, session: Session, holder: str, state: TrustedState, *, steady: bool = False) -> None:
        self._session = session
        self.leases = ObjectLeases(session, holder)
        self.models = Models(session)
        self.versions = Versions(session)
        self.requests = Requests(session)
        self.objects = Objects(session, self.leases)
        self.class_spaces = ClassSpaces(session, self.objects)
        self.kept_results = KeptResults(session)
        self.audit = AuditLog(session, steady=steady)
        self.certificates = Certificates(session)
        self.checkpoints = Checkpoints(session)
        self.projections = Projections(session)
        self.workers = Workers(session)
        self.operations = Operations(session)
        self.tokens = Tokens(session)
        self.web_sessions = WebSessions(session)
        self.jobs = Jobs(session)
        self.webhooks = Webhooks(session)
        self.trusted = TrustedRows(state, self.audit, self.projections)
        """Checks rows against the audit log before something rests on them."""

    def time(self) -> float:
        """Return the time on the database's clock, in seconds since 1970."""
        return float(self._session.scalar(select(database_time())) or 0.0)


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
        self.holder = new_holder()
        """Who holds the leases on objects that are taken through this."""
        self._writer = engine.execution_options(**{WRITER: True})
        # SQLite readers see one state anyway; PostgreSQL would show each statement the newest.
        self._server = engine.dialect.name == "postgresql"
        self._reader = engine.execution_options(isolation_level="REPEATABLE READ") if self._server else engine

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a transaction that sees one state of the database and is never committed."""
        with translated(), Session(self._reader, expire_on_commit=False) as session:
            yield Transaction(session, self.holder, self._state, steady=True)

    @contextmanager
    def write(self, *, guarded: bool = True) -> Iterator[Transaction]:
        """Open a transaction that excludes other writers; commit it unless the block raises.

        Args:
            guarded: Ask the guard first. Only what makes, upgrades, imports or recovers a ledger does without.
        """
        with translated(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            transaction = Transaction(session, self.holder, self._state)
            # One lock, taken first and always: writers queue up here instead of deadlocking later.
            with telling_of_a_wait() if self._server else nullcontext():
                transaction.audit.head(lock=True)
            if guarded:
                self._guard(transaction)
            yield transaction
        self.written.add(transaction.audit.appended)

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
            Session(connection, expire_on_commit=False) as session,
            session.begin(),
        ):
            transaction = Transaction(session, self.holder, self._state)
            transaction.audit.head(lock=True)
            self._guard(transaction)
            yield transaction
        self.written.add(transaction.audit.appended)

    @contextmanager
    def touch(self) -> Iterator[Transaction]:
        """Open a transaction that writes one row, without a trace in the audit log; commit it at the end.

        On PostgreSQL it waits for no other writer, and with its single row it can be in nobody's way: heartbeats
        come through while a long transaction holds the lock on the audit log.
        """
        with translated(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield Transaction(session, self.holder, self._state)

    def try_writing(self) -> None:
        """Write a row as it is, in a transaction that is then undone.

        Raises:
            LedgerError: The database cannot be written.
        """
        with translated(), Session(self._writer) as session:
            session.execute(update(AuditHeadRow).values(size=AuditHeadRow.size))
            session.rollback()

    def problems(self) -> list[str]:
        """Return what the database finds wrong with its own file, and rows that refer to nothing."""
        return database_problems(self._reader)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
