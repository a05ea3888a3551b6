"""Where two people are asked for: what whoever filed a request may not decide alone."""

from ledger.domain.events.requests import RequestApproved, RequestRetried
from ledger.domain.requests import Request
from ledger.domain.states import Action
from ledger.errors import ForbiddenError
from ledger.service.ledger import Ledger
from ledger.store.unit_of_work import Transaction

HINT = "let somebody else decide it, under their own name"


def require_second_person(
    tx: Transaction, ledger: Ledger, request: Request, action: Action, *, waive_gates: bool
) -> None:
    """Refuse to let whoever filed a request bring it to a worker, or past a gate, with nobody else's consent.

    A request need not have waited for approval: one for classes that were forgotten already is fulfilled at once, and
    a rollback reopens it. Until somebody else approved it, or put it back in the queue, it is theirs to retry.

    Args:
        tx: The transaction of the decision.
        ledger: The ledger; its actor decides.
        request: The request as it is, already held against the audit log.
        action: What is decided.
        waive_gates: Whether the result shall be accepted even if it misses a quality gate.

    Raises:
        ForbiddenError: Two people are asked for, and nobody but its filer agreed.
    """
    if not ledger.config.access.four_eyes or request.actor != ledger.actor:
        return
    if action is Action.APPROVE:
        raise _forbidden(request, "approve it")
    if waive_gates:
        raise _forbidden(request, "waive its gates")
    if action is Action.RETRY and not _agreed_by_another(tx, request):
        raise _forbidden(request, "retry what nobody else approved")


def _agreed_by_another(tx: Transaction, request: Request) -> bool:
    kinds = (RequestApproved.kind, RequestRetried.kind)
    return any(event.actor != request.actor for event in tx.audit.events(request_id=request.id, kinds=kinds))


def _forbidden(request: Request, what: str) -> ForbiddenError:
    return ForbiddenError(
        f"request {request.id} was filed by {request.actor}, who may not {what}: two people are asked for", HINT
    )
