"""Give a request more time: its due date moves to a later moment, with a reason, and nothing else changes."""

from datetime import datetime

from ledger.domain.events.requests import RequestExtended
from ledger.domain.moments import in_zone, require_in_calendar
from ledger.domain.requests import Request
from ledger.domain.states import Action
from ledger.errors import UsageError
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy


def extend_due(
    ledger: Ledger, request_id: int, due_at: datetime, reason: str, *, expected: str | None = None
) -> Request:
    """Move the due date of an open request to a later moment.

    Args:
        ledger: The ledger.
        request_id: Which request.
        due_at: By when it has to be fulfilled from now on, with its time zone.
        reason: Why, kept as a note beside the audit log. Whoever waits for the request has a right to know it.
        expected: Revision of the request that the decision is about; None takes it as it is.

    Raises:
        UsageError: There is no reason, or the new due date is not later than the one before, or outside the calendar.
        TransitionError: The request is closed: nobody waits for it.
        PreconditionError: Something happened to the request since that revision.
        RowError: The request is not what the audit log says.
    """
    if not reason.strip():
        raise UsageError("more time takes a reason", "say why with --reason TEXT")
    require_in_calendar(due_at, "the due date")

    def transaction() -> Request:
        now = ledger.clock()
        ledger.database.catch_up()
        with ledger.database.write() as tx:
            before = tx.requests.get(request_id)
            tx.trusted.request(request_id)
            before.require(expected)
            after = tx.requests.act(request_id, Action.EXTEND, at=now, due_at=due_at)
            if due_at <= before.due_at:
                zone = ledger.config.zone
                raise UsageError(
                    f"request {request_id} is due on {in_zone(before.due_at, zone):%Y-%m-%d %H:%M %Z} already, which "
                    f"is not before {in_zone(due_at, zone):%Y-%m-%d %H:%M %Z}",
                    "name a later day; nothing was changed",
                )
            tx.audit.append(
                RequestExtended(previous=before.state, state=after.state, due_at=due_at, was_due_at=before.due_at),
                at=now,
                actor=ledger.actor,
                model=tx.models.by_id(before.model_id).name,
                request_id=request_id,
                note=reason,
            )
        return after

    return retry_when_busy(transaction)
