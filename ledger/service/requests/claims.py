"""Claim the next request that a worker may carry out."""

from collections.abc import Collection
from datetime import datetime

from ledger.domain.events.requests import RequestClaimed, RequestEvent, RequestQuarantined
from ledger.domain.requests import Request
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.store.repositories.requests import Claim
from ledger.store.unit_of_work import Transaction

LEASE_SECONDS = 60.0
MOST_CRASHES = 3
"""Attempts whose worker vanished before a request is quarantined."""


def claim_next(
    ledger: Ledger,
    owner: str,
    model_name: str | None = None,
    *,
    lease: float = LEASE_SECONDS,
    avoid: Collection[int] = (),
) -> Claim | None:
    """Claim the oldest request that may be carried out now; None if there is none.

    A request whose worker vanished for the third time is quarantined on the way.

    Args:
        ledger: The ledger.
        owner: Name of the worker.
        model_name: Only this model's requests.
        lease: Seconds after which the claim expires unless a heartbeat prolongs it.
        avoid: Ids of models whose requests are left alone for now.

    Raises:
        NotFoundError: There is no such model.
        AuditError: The audit log does not verify.
        RowError: A row that the work would rest on is not what the audit log says, or a request is hidden from the
            queue. Nothing is claimed.
    """

    def transaction() -> Claim | None:
        # Before anybody has to wait for it.
        ledger.database.catch_up()
        now = ledger.clock()
        with ledger.database.write() as tx:
            model = tx.models.get(model_name) if model_name else None
            vanished = tx.requests.quarantine_vanished(attempts=MOST_CRASHES, at=now, model=model)
            tx.trusted.vanished(vanished)
            for request in vanished:
                gone = RequestQuarantined(state=request.state, attempts=request.attempts)
                record(tx, ledger, gone, request, at=now)
            claim = tx.requests.claim(owner=owner, ttl=lease, at=now, attempts=MOST_CRASHES, model=model, avoid=avoid)
            if claim is not None:
                tx.trusted.claimable(claim.request)
                tx.trusted.current(tx.models.by_id(claim.request.model_id).name)
                taken = RequestClaimed(state=claim.request.state, worker=owner, epoch=claim.epoch)
                record(tx, ledger, taken, claim.request, at=now)
        return claim

    claim = retry_when_busy(transaction)
    if claim is None:
        with ledger.database.read() as tx:
            tx.trusted.queue()
    return claim


def record(
    tx: Transaction, ledger: Ledger, event: RequestEvent, request: Request, *, at: datetime, note: str = ""
) -> None:
    """Append what happened to a request to the audit log."""
    name = tx.models.by_id(request.model_id).name
    tx.audit.append(event, at=at, actor=ledger.actor, model=name, request_id=request.id, note=note)
