"""An opened ledger: its database, object store, plugins and clock."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

from ledger.config import UTC_NAME, Config, find_config, plan_config, write_config
from ledger.domain.events.ledgers import LedgerCreated
from ledger.errors import LedgerError, OlderDatabaseError
from ledger.plugin_manager import OfferedNames, Plugins, build_plugins, offered_names
from ledger.store.audit.appended import Appended
from ledger.store.database.address import database_url
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import check_schema, upgrade_schema
from ledger.store.objects.object_store import ObjectStore, open_objects
from ledger.store.unit_of_work import Database
from ledger.units.engine import Engine

from .guard import Guard, kept_record, problem_of
from .processor import usable_threads
from .sealed_snapshot import SealedSnapshot
from .signing import create_signer


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def tell_nobody(_sentence: str) -> None:
    """Take a sentence, and do nothing with it."""


@dataclass
class Ledger:
    """What every use case is given.

    Args:
        config: Where it lives.
        database: Transactions.
        objects: The object store.
        actor: Who acts, recorded with every change.
        clock: Read once at the start of each change.
        device: Where to compute: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        tell: Takes sentences for the person at the keyboard, about what differs from what they may expect.
        executor: Who runs the units of a computation, where a person names it; None takes what ``unledger.toml`` says.
        elsewhere_again: Moment, on the monotonic clock, before which ``checkpoint_to`` is left in peace: it was out of
            reach.
    """

    config: Config
    database: Database
    objects: ObjectStore
    actor: str
    clock: Callable[[], datetime] = utc_now
    device: str = "auto"
    tell: Callable[[str], None] = tell_nobody
    elsewhere_again: float = 0.0
    executor: str | None = None

    @cached_property
    def plugins(self) -> Plugins:
        """The plugins, loaded when first needed: most commands never do."""
        return build_plugins(self.config.plugins)

    @cached_property
    def offered(self) -> OfferedNames:
        """What plugins offer by name, for whoever computes nothing: torch is not loaded for it."""
        return offered_names(self.config.plugins)

    @cached_property
    def engine(self) -> Engine:
        """Who runs the units of computations, opened when first needed."""
        return Engine(lambda: self.plugins, self.config.executor if self.executor is None else self.executor)

    @property
    def written(self) -> Appended:
        """What was appended to the audit log through this, and committed."""
        return self.database.written

    def problem(self) -> LedgerError | None:
        """Return why nothing may be written here: the keys of another ledger, or an older database. None if it may."""
        with self.database.read() as tx:
            problem = problem_of(tx.audit, self.config)
        if not isinstance(problem, OlderDatabaseError):
            return problem
        # A checkpoint may have been signed after this transaction began: whoever looks again sees what it signs.
        with self.database.read() as tx:
            return problem_of(tx.audit, self.config)

    def require_current(self) -> None:
        """Check that this may be written to, before work of some length.

        Raises:
            KeysError: The keys are missing, or another ledger's.
            OlderDatabaseError: The database lacks entries that were signed.
        """
        with self.database.write():
            """The guard was asked."""

    def hearing(self, hear: Callable[[frozenset[str]], None]) -> AbstractContextManager[None]:
        """Return a block during which a function is called, by another thread, soon after something happened.

        Only some databases tell of that, and not surely: whoever waits looks from time to time as well.

        Args:
            hear: Given the kinds of what happened; none where it may have been anything.
        """
        return self.database.news.heard_by(hear)

    def close(self) -> None:
        """Close the database's connections, and let go of whoever runs units."""
        if "engine" in vars(self):
            self.engine.close()
        self.database.close()


def find_ledger(folder: Path | None = None) -> Config:
    """Find a ledger: in the given folder, else in ``UNLEDGER_DIR``, else in the current folder or one above it.

    Raises:
        NotFoundError: There is none.
        UsageError: Its ``unledger.toml`` cannot be read.
    """
    return find_config(folder)


def open_ledger(
    config: Config,
    actor: str,
    clock: Callable[[], datetime] = utc_now,
    *,
    device: str = "auto",
    tell: Callable[[str], None] = tell_nobody,
) -> Ledger:
    """Open an existing ledger.

    Raises:
        SchemaVersionError: Its database is empty, older or newer than this release.
    """
    engine = open_engine(database_url(config))
    check_schema(engine)
    known = Database(engine, partial(kept_record, config), Guard(config), SealedSnapshot(config))
    return Ledger(config, known, open_objects(config), actor, clock, device, tell)


def create_ledger(config: Config, actor: str, clock: Callable[[], datetime] = utc_now) -> Ledger:
    """Create the schema of a new ledger (or upgrade an older one) and open it."""
    objects = open_objects(config)
    objects.probe()
    engine = open_engine(database_url(config))
    upgrade_schema(engine)
    known = Database(engine, partial(kept_record, config), Guard(config), SealedSnapshot(config))
    ledger = Ledger(config, known, objects, actor, clock)
    # There are no keys to be checked yet; and an upgrade changes no row that they matter for.
    with ledger.database.write(guarded=False) as tx:
        if tx.audit.head().size == 0:
            key = str(create_signer(config).verifier)
            tx.audit.append(LedgerCreated(key=key), at=clock(), actor=actor)
    return ledger


def init_ledger(folder: Path, database: str, store: str, actor: str, *, time_zone: str = UTC_NAME) -> Config:
    """Create a new ledger in a folder; where that fails, the folder holds no ledger afterwards.

    ``unledger.toml``, which makes a folder a ledger, is written last. What an attempt that was cut short leaves, the
    next one goes on with.

    Args:
        folder: Created if need be.
        database: SQLAlchemy URL; a relative SQLite path counts from the folder.
        store: Folder of the object store, relative to ``folder``, or a URL.
        actor: Who creates it.
        time_zone: Name of the time zone in which days begin and end.

    Raises:
        ConflictError: The folder already holds a ledger.
        LedgerError: Folder, database or object store cannot be written.
        UsageError: There is no such time zone.
    """
    config = plan_config(folder, database, store, threads=usable_threads(), time_zone=time_zone)
    create_ledger(config, actor).close()
    write_config(config)
    return config
