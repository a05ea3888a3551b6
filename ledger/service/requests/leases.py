"""The leases that workers hold on requests: who holds which, for how long, and how to take one away."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ledger.domain.events.requests import RequestReleased
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.errors import LeaseHeldError, LedgerError
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.store.repositories.requests import Claim, Lease
from ledger.store.unit_of_work import Transaction

from .claim_end import ClaimEnd
from .claims import LEASE_SECONDS, record

TOLERANCE = 5.0
"""Seconds by which a lease may seem longer than leases last: clocks are adjusted in small steps all the time."""


@dataclass(frozen=True)
class HeldLease:
    """A worker's lease on a request, as a person sees it."""

    request: Request
    model: Model
    owner: str
    epoch: int
    remaining: float
    """Seconds until it runs out, on the database's clock."""
    expires: datetime
    """When it runs out, on the database's clock."""

    @property
    def from_future(self) -> bool:
        """Whether it lasts longer than any worker asks for: the database's clock was set back since it was given."""
        return self.remaining > LEASE_SECONDS + TOLERANCE

    def __str__(self) -> str:
        labels = ", ".join(self.model.labels.names(self.request.classes))
        until = f"{self.expires:%Y-%m-%d %H:%M:%S} UTC ({self.remaining:.0f} s from now)"
        return f"request {self.request.id} ({self.model.name}: {labels}) is held by worker {self.owner} until {until}"

    @property
    def hint(self) -> str:
        """What a person can do about it."""
        force = f"unledger request release {self.request.id} --force --reason TEXT"
        if self.from_future:
            return f"no lease lasts that long, so the database's clock was set back; to end the lease now: {force}"
        return (
            "a worker that is alive prolongs its lease until it is done; after one that died, run unledger work again "
            f"then; to end the lease now: {force}"
        )


def held_leases(tx: Transaction, model: Model | None = None) -> list[HeldLease]:
    """Return the leases that have not run out, on one model's requests or on all."""
    now = datetime.fromtimestamp(tx.time(), UTC)
    return [_described(tx, lease, now) for lease in tx.requests.leases(model) if lease.remaining > 0]


def require_no_lease(ledger: Ledger, model_name: str | None = None) -> None:
    """Return if no worker holds a request.

    Args:
        ledger: The ledger.
        model_name: Only this model's requests.

    Raises:
        LeaseHeldError: Names the request, who holds it and until when.
    """
    with ledger.database.read() as tx:
        held = held_leases(tx, tx.models.get(model_name) if model_name else None)
    if held:
        # The one that stays longest needs a person's attention most.
        worst = max(held, key=lambda lease: lease.remaining)
        raise LeaseHeldError("; ".join(map(str, held)), worst.hint)


def show_lease(ledger: Ledger, request_id: int) -> HeldLease | None:
    """Return the lease on a request, also one that ran out; None if the request is not running.

    Raises:
        NotFoundError: There is no such request.
    """
    with ledger.database.read() as tx:
        request = tx.requests.get(request_id)
        now = datetime.fromtimestamp(tx.time(), UTC)
        leases = tx.requests.leases(tx.models.by_id(request.model_id))
        return next((_described(tx, lease, now) for lease in leases if lease.request.id == request_id), None)


def break_lease(ledger: Ledger, request_id: int, reason: str, *, expected: str | None = None) -> Request:
    """Take a running request from the worker that holds it, and put it back in the queue.

    The epoch of the request rises, so that this worker cannot commit any more, whether it is alive or not. The attempt
    counts: a request whose workers vanish again and again is still set aside.

    Args:
        ledger: The ledger.
        request_id: Which request.
        reason: Why, kept as a note beside the audit log.
        expected: Revision of the request that the decision is about; None takes it as it is.

    Raises:
        TransitionError: The request is not running.
        PreconditionError: Something happened to the request since that revision.
    """

    def transaction() -> Request:
        now = ledger.clock()
        with ledger.database.write() as tx:
            before = tx.requests.get(request_id)
            before.require(expected)
            after = tx.requests.break_lease(request_id, at=now, outcome=reason)
            event = RequestReleased(
                previous=before.state, state=after.state, worker=before.lease_owner, epoch=after.lease_epoch
            )
            record(tx, ledger, event, after, at=now, note=reason)
        return after

    return retry_when_busy(transaction)


def give_back(ledger: Ledger, owner: str) -> None:
    """Put every request that a worker holds back in the queue; the attempts do not count."""
    for claim in _claims(ledger, owner):
        ClaimEnd(ledger, claim).interrupt()


def _claims(ledger: Ledger, owner: str) -> Iterator[Claim]:
    try:
        with ledger.database.read() as tx:
            held = [lease for lease in tx.requests.leases() if lease.owner == owner]
    except LedgerError:
        # Without the database, the lease runs out, and the next worker takes the request over.
        return
    for lease in held:
        yield Claim(lease.request, owner, lease.epoch, LEASE_SECONDS)


def _described(tx: Transaction, lease: Lease, now: datetime) -> HeldLease:
    model = tx.models.by_id(lease.request.model_id)
    # A clock that went wrong may have left any number here.
    seconds = min(lease.remaining, (datetime.max.replace(tzinfo=UTC) - now).total_seconds() / 2)
    return HeldLease(lease.request, model, lease.owner, lease.epoch, lease.remaining, now + timedelta(seconds=seconds))
