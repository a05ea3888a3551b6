"""Decide about requests that no worker holds."""

from collections.abc import Sequence

from ledger.domain.events import requests as events
from ledger.domain.requests import Request
from ledger.domain.states import Action
from ledger.errors import UsageError
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.store.unit_of_work import Transaction

from .retention import check_retained
from .two_people import require_second_person

_DECISIONS: dict[Action, type[events.RequestDecision]] = {
    Action.APPROVE: events.RequestApproved,
    Action.DENY: events.RequestDenied,
    Action.CANCEL: events.RequestCancelled,
    Action.HOLD: events.RequestHeld,
    Action.RELEASE: events.RequestReleased,
    Action.RETRY: events.RequestRetried,
    Action.WITHDRAW: events.RequestWithdrawn,
}


def decide(
    ledger: Ledger,
    request_id: int,
    action: Action,
    reason: str,
    *,
    waive_gates: bool = False,
    solvers: Sequence[str] = (),
    expected: str | None = None,
) -> Request:
    """Take a person's decision about a request that no worker holds.

    Withdrawing a fulfilled request needs new weights: that is :func:`ledger.service.requests.withdrawal.withdraw`.

    Args:
        ledger: The ledger.
        request_id: Which request.
        action: Approve, deny, cancel, hold, release, retry, or withdraw (of a reopened request).
        reason: Why, kept as a note beside the audit log.
        waive_gates: With retry: accept the result even if it misses a quality gate; the reason tells why.
        solvers: With retry: solvers that compute it in the place of those of the model.
        expected: Revision of the request that the decision is about; None takes it as it is.

    Raises:
        UsageError: There is no solver of a name, the action is none of these or knows no solvers and no gates, or
            gates are waived without a reason.
        PreconditionError: Something happened to the request since that revision.
        ForbiddenError: Two people are asked for, and only who filed it agrees.
        TransitionError: The request's state does not allow it.
        TooFewRetainedError: Retrying would leave too few classes.
        RowError: A row of the request or its model is not what the audit log says.
    """
    if action not in _DECISIONS:
        raise UsageError(f"to {action.value} is no decision of this kind", f"there are {', '.join(_DECISIONS)}")
    if action is not Action.RETRY:
        require_nothing_computed(action, waive_gates=waive_gates, solvers=solvers)
    require_reason_to_waive(reason, waive_gates=waive_gates)
    named = require_solvers(ledger, solvers)

    def transaction() -> Request:
        # Before anybody has to wait for it.
        ledger.database.catch_up()
        with ledger.database.write() as tx:
            return decide_in(
                tx, ledger, request_id, action, reason, waive_gates=waive_gates, solvers=named, expected=expected
            )

    return retry_when_busy(transaction)


def require_solvers(ledger: Ledger, names: Sequence[str]) -> tuple[str, ...]:
    """Return names of solvers, each once.

    Raises:
        UsageError: There is no solver of a name.
    """
    if not names:
        return ()
    ledger.offered.require_solvers(names)
    return tuple(dict.fromkeys(names))


def require_nothing_computed(action: Action, *, waive_gates: bool, solvers: Sequence[str]) -> None:
    """Refuse solvers and waived gates where nothing has to be computed: what is said must not go unheard.

    Raises:
        UsageError: There are some.
    """
    if waive_gates or solvers:
        raise UsageError(
            f"to {action.value} computes nothing here: there are no solvers to name and no gates to waive",
            "leave them out",
        )


def require_reason_to_waive(reason: str, *, waive_gates: bool) -> None:
    """Refuse to waive quality gates for no reason.

    Raises:
        UsageError: There is none.
    """
    if waive_gates and not reason.strip():
        raise UsageError("waiving gates takes a reason", "say why the result is good enough as it is")


def named_solvers(tx: Transaction, request: Request) -> tuple[str, ...]:
    """Return the solvers that a person named when the request was last retried; none where nobody did."""
    *_, last = (None, *tx.audit.events(request_id=request.id, kinds=(events.RequestRetried.kind,)))
    payload = None if last is None else last.payload
    return (payload.solvers or ()) if isinstance(payload, events.RequestRetried) else ()


def decide_in(
    tx: Transaction,
    ledger: Ledger,
    request_id: int,
    action: Action,
    reason: str,
    *,
    waive_gates: bool = False,
    solvers: tuple[str, ...] = (),
    expected: str | None = None,
) -> Request:
    """Decide inside a transaction, as :func:`decide` does in its own."""
    now = ledger.clock()
    before = tx.requests.get(request_id)
    model = tx.models.by_id(before.model_id)
    tx.trusted.request(request_id)
    tx.trusted.current(model.name)
    before.require(expected)
    require_second_person(tx, ledger, before, action, waive_gates=waive_gates)
    changes: dict[str, object] = {"outcome": reason}
    if action is Action.RETRY:
        check_retained(model, tx.versions.live(model).forgotten | before.classes)
        changes |= {"attempts": 0, "gates_waived": waive_gates, "version": None, "no_op": False}
    after = tx.requests.act(request_id, action, at=now, **changes)
    tx.audit.append(
        _event(action, before, after, waive_gates=waive_gates, solvers=solvers),
        at=now,
        actor=ledger.actor,
        model=model.name,
        request_id=request_id,
        note=reason,
    )
    return after


def _event(
    action: Action, before: Request, after: Request, *, waive_gates: bool, solvers: tuple[str, ...]
) -> events.RequestDecision:
    if action is Action.RETRY:
        return events.RequestRetried(
            previous=before.state, state=after.state, gates_waived=waive_gates, solvers=solvers or None
        )
    return _DECISIONS[action](previous=before.state, state=after.state)
