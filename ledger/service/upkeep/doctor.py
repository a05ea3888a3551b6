"""Check that everything a ledger needs is there and works."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ledger import installation
from ledger.audit.signed_notes import Checkpoint
from ledger.config import Config
from ledger.errors import IntegrityError, LedgerError
from ledger.plugin_manager import build_plugins, selection
from ledger.service.clock import read_clocks
from ledger.service.guard import problem_of, require_continued_elsewhere
from ledger.service.kept_checkpoints import elsewhere
from ledger.service.signing import last_signed, own_verifier
from ledger.store.database.address import database_url
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import check_schema
from ledger.store.objects.object_store import open_objects
from ledger.store.unit_of_work import Database

from .places import check_permissions, try_places


@dataclass(frozen=True)
class Check:
    """One thing a ledger needs, and whether it has it."""

    name: str
    ok: bool
    detail: str


def doctor(config: Config) -> list[Check]:
    """Check everything that a ledger needs, without stopping at the first thing that fails."""
    checks: list[Check] = []

    def check(name: str, probe: Callable[[], str]) -> bool:
        try:
            detail, ok = probe(), True
        except LedgerError as error:
            detail, ok = error.message + (f" ({error.hint})" if error.hint else ""), False
        checks.append(Check(name, ok, detail))
        return ok

    engine = open_engine(database_url(config))
    database, store = Database(engine), open_objects(config)

    def schema() -> str:
        check_schema(engine)
        return f"{engine.dialect.name}, schema up to date"

    def writable() -> str:
        database.try_writing()
        return f"a row was written and taken back; so were files in {', '.join(try_places(config, store))}"

    def audit() -> str:
        with database.read() as tx:
            return f"{tx.audit.verify().size} entries verify"

    def objects() -> str:
        with database.read() as tx:
            known = tx.objects.kept()
        missing = [digest for digest, _, _ in known if digest not in store]
        if missing:
            raise LedgerError(f"{len(missing)} of {len(known)} objects are missing", "restore them from a backup")
        return f"{len(known)} objects, {sum(size for _, size, _ in known) / 1e6:.1f} MB"

    if check("database", schema):
        check("writable", writable)
        check("audit log", audit)
        check("checkpoints", partial(_checkpoints, config, database))
        check("clock", partial(_clock, database))
        check("object store", objects)
    check("permissions", lambda: check_permissions(config))
    check("engine", _engine)
    check("plugins", lambda: _plugins(config))
    database.close()
    return checks


def _checkpoints(config: Config, database: Database) -> str:
    """Say which checkpoint the log continues, and refuse an older database as everything does that writes."""
    with database.read() as tx:
        problem = problem_of(tx.audit, config)
        if isinstance(problem, IntegrityError):
            raise problem
        if problem is not None:
            # Another check tells more of it.
            return f"nothing was compared: {problem.message}"
        verifier, known = own_verifier(config), last_signed(config)
        place = elsewhere(config)
        if place is not None and verifier is not None:
            try:
                place.names()
            except OSError as error:
                raise LedgerError(
                    f"cannot reach {place}: {error.strerror or error}", "see checkpoint_to in unledger.toml"
                ) from error
            require_continued_elsewhere(tx.audit, config, verifier)
    signed = f"{Checkpoint.of_note(known).size} entries are signed" if known else "nothing was signed yet"
    return f"{signed}; kept in {place} too" if place is not None else f"{signed}; checkpoint_to names no second place"


def _clock(database: Database) -> str:
    with database.read() as tx:
        doubts = read_clocks(tx).doubts
    if doubts:
        raise LedgerError("; ".join(doubts), "set the clock right before anything else is done")
    return "nothing was recorded later than now"


def _engine() -> str:
    """Say whether this environment can compute; one that only serves or audits need not."""
    if installation.lacks("engine"):
        return f"not installed, so that nothing can be computed here: {installation.install('engine')}"
    return "installed"


def _plugins(config: Config) -> str:
    if installation.lacks("engine"):
        return "not looked at: they need the engine"
    plugins = build_plugins(config.plugins)
    broken = [f"{info.name}: {info.error}" for info in plugins.infos if info.error]
    if broken:
        raise LedgerError("; ".join(broken), "update or uninstall them; the other plugins work")
    plugins.require_distinct()
    return f"{len(plugins.infos)} loaded: {selection(config.plugins)}"
