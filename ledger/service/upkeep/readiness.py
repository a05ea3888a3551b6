"""Whether a server can do its work now: what a load balancer asks before it sends anybody."""

from collections.abc import Callable
from dataclasses import dataclass

from ledger.errors import LedgerError
from ledger.service.ledger import Ledger
from ledger.store.database.schema import check_schema


@dataclass(frozen=True)
class Readiness:
    """One thing that is needed, and what is wrong with it."""

    name: str
    error: LedgerError | None
    """None if nothing is."""


def readiness(ledger: Ledger) -> list[Readiness]:
    """Check the database, its schema, the object store, and that this is the newest state that was signed."""
    checks: dict[str, Callable[[], object]] = {
        "database": lambda: _reach(ledger),
        "schema": lambda: check_schema(ledger.database.engine),
        "objects": ledger.objects.probe,
        "ledger": lambda: _require_whole(ledger),
    }
    return [Readiness(name, _fault(check)) for name, check in checks.items()]


def unreachable(error: LedgerError) -> list[Readiness]:
    """Return the answer where the ledger could not even be opened."""
    return [Readiness("database", error)]


def _reach(ledger: Ledger) -> None:
    with ledger.database.read() as tx:
        tx.time()


def _require_whole(ledger: Ledger) -> None:
    problem = ledger.problem()
    if problem is not None:
        raise problem


def _fault(check: Callable[[], object]) -> LedgerError | None:
    try:
        check()
    except LedgerError as error:
        return error
    return None
