"""What an operator watches, read from the database: no class, no model by name, no person.

Rows are counted as they are: an alarm must not wait for the audit log to be verified. Decisions never rest on this.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from ledger.domain.states import RequestState
from ledger.service.ledger import Ledger
from ledger.service.requests.daemon import PRESENT_SECONDS
from ledger.store.unit_of_work import Transaction

LATELY = 200
"""Requests that were carried out last, over which times are taken."""


@dataclass(frozen=True)
class OperationalMetrics:
    """The ledger at one moment. Models go by their numbers."""

    states: dict[tuple[int, RequestState], int]
    """Requests by model and state."""
    oldest_open: dict[int, float]
    """Seconds since the oldest open request of a model was received."""
    overdue: dict[int, int]
    """Open requests past their due dates, by model; models without open requests are left out."""
    phases: dict[str, tuple[float, ...]]
    """Seconds that each of the requests carried out last spent ``waiting`` for a worker, and ``working`` under it."""
    audit_entries: int
    workers: int
    """Workers that stay and were heard of lately."""
    leases: int
    """Requests that a worker holds now."""
    undelivered: int
    """Messages to webhooks that were not delivered yet."""


def operational_metrics(ledger: Ledger) -> OperationalMetrics:
    """Return what an operator watches."""
    now = ledger.clock()
    with ledger.database.read() as tx:
        models = tx.models.names()
        states = tx.operations.count_by_state()
        oldest = tx.operations.oldest_open()
        overdue = tx.operations.overdue(now)
        return OperationalMetrics(
            states=states,
            oldest_open={model: max(0.0, (now - since).total_seconds()) for model, since in oldest.items()},
            overdue={model: overdue.get(model, 0) for model in models},
            phases=_phases(tx),
            audit_entries=tx.audit.head().size,
            workers=sum(worker.idle <= PRESENT_SECONDS for worker in tx.workers.all()),
            leases=len(tx.requests.leases()),
            undelivered=tx.operations.undelivered(),
        )


def _phases(tx: Transaction) -> dict[str, tuple[float, ...]]:
    lately = tx.operations.fulfilled_lately(LATELY)
    claims = tx.operations.last_claims(lately.keys())
    claimed = {number: datetime.fromisoformat(json.loads(leaf)["at"]) for number, leaf in claims.items()}
    spans = [(*lately[number], at) for number, at in claimed.items()]
    return {
        "waiting": tuple(max(0.0, (at - filed).total_seconds()) for filed, _, at in spans),
        "working": tuple(max(0.0, (done - at).total_seconds()) for _, done, at in spans),
    }
