"""How a ledger is doing: what is live, what waits, what is late; and whether it can work at all."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ledger.config import Config
from ledger.domain.records import Model, Request, Version, Worker
from ledger.domain.states import OPEN_STATES, RequestState
from ledger.errors import LedgerError
from ledger.plugin_manager import build_plugins
from ledger.service.ledger import Ledger
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import check_schema
from ledger.store.objects.object_store import open_blobs
from ledger.store.unit_of_work import Database

from .daemon import PRESENT_SECONDS

WANTING = frozenset({RequestState.QUEUED, RequestState.RUNNING})
"""States that only a worker leads out of."""


@dataclass(frozen=True)
class ModelStatus:
    """One model's live version and requests."""

    model: Model
    live: Version
    states: dict[RequestState, int]
    open: tuple[Request, ...]
    overdue: tuple[Request, ...]
    unattended: bool
    """Requests wait for a worker, and there is none: no lease on the model is held, none that stays would take them."""


@dataclass(frozen=True)
class Status:
    """The whole ledger at one moment."""

    now: datetime
    models: tuple[ModelStatus, ...]
    workers: tuple[Worker, ...]
    """Those that stay and were heard of lately."""

    @property
    def overdue(self) -> tuple[Request, ...]:
        """Open requests past their due dates, over all models."""
        return tuple(request for status in self.models for request in status.overdue)


def status(ledger: Ledger, model_name: str | None = None) -> Status:
    """Return what is live, what is open, what is overdue, and who is there to work on it."""
    now = ledger.clock()
    with ledger.database.read() as tx:
        workers = tuple(worker for worker in tx.workers.all() if worker.idle <= PRESENT_SECONDS)
        attended, leased = {worker.model for worker in workers}, tx.requests.leased()
        models = [tx.models.get(model_name)] if model_name else tx.models.all()
        found = []
        for model in models:
            requests = tx.requests.all(model)
            waiting = tuple(r for r in requests if r.state in OPEN_STATES)
            found.append(
                ModelStatus(
                    model=model,
                    live=tx.versions.live(model),
                    states=dict(Counter(r.state for r in requests)),
                    open=waiting,
                    overdue=tuple(r for r in waiting if r.due_at < now),
                    unattended=any(r.state in WANTING for r in waiting)
                    and model.id not in leased
                    and not attended & {None, model.name},
                )
            )
    return Status(now, tuple(found), workers)


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

    engine = open_engine(config.database_url)
    database, blobs = Database(engine), open_blobs(config)

    def schema() -> str:
        check_schema(engine)
        return f"{engine.dialect.name}, schema up to date"

    def writable() -> str:
        with database.write():
            return "a write transaction can begin"

    def audit() -> str:
        with database.read() as tx:
            return f"{tx.audit.verify().size} entries verify"

    def objects() -> str:
        with database.read() as tx:
            known = tx.spaces.blobs()
        missing = [digest for digest, _, _ in known if digest not in blobs]
        if missing:
            raise LedgerError(f"{len(missing)} of {len(known)} objects are missing", "restore them from a backup")
        return f"{len(known)} objects, {sum(size for _, size, _ in known) / 1e6:.1f} MB"

    if check("database", schema):
        check("writable", writable)
        check("audit history", audit)
        check("object store", objects)
    check("plugins", _plugins)
    database.close()
    return checks


def _plugins() -> str:
    infos = build_plugins().infos
    broken = [f"{info.name}: {info.error}" for info in infos if info.error]
    if broken:
        raise LedgerError("; ".join(broken), "update or uninstall them; the other plugins work")
    return f"{len(infos)} loaded"
