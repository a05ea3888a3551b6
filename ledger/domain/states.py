"""The states of a request, and one table of the allowed transitions between them.

The table is the only place that defines them. ``docs/requests.md`` draws it, and a test checks every pair of state and
action.
"""

from enum import StrEnum

from ledger.errors import TransitionError


class RequestState(StrEnum):
    """The state of a request."""

    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    RUNNING = "running"
    FULFILLED = "fulfilled"
    ON_HOLD = "on_hold"
    DENIED = "denied"
    CANCELLED = "cancelled"
    FAILED = "failed"
    BLOCKED = "blocked"
    QUARANTINED = "quarantined"
    REOPENED = "reopened"
    WITHDRAWN = "withdrawn"


class Action(StrEnum):
    """An action that changes the state of a request."""

    APPROVE = "approve"
    DENY = "deny"
    CANCEL = "cancel"
    HOLD = "hold"
    RELEASE = "release"
    CLAIM = "claim"
    INTERRUPT = "interrupt"
    FULFIL = "fulfil"
    FAIL = "fail"
    BLOCK = "block"
    QUARANTINE = "quarantine"
    RETRY = "retry"
    REOPEN = "reopen"
    WITHDRAW = "withdraw"
    EXTEND = "extend"


_S, _A = RequestState, Action

TRANSITIONS: dict[tuple[RequestState, Action], RequestState] = {
    (_S.AWAITING_APPROVAL, _A.APPROVE): _S.QUEUED,
    (_S.AWAITING_APPROVAL, _A.DENY): _S.DENIED,
    (_S.AWAITING_APPROVAL, _A.CANCEL): _S.CANCELLED,
    (_S.QUEUED, _A.CLAIM): _S.RUNNING,
    (_S.QUEUED, _A.DENY): _S.DENIED,
    (_S.QUEUED, _A.CANCEL): _S.CANCELLED,
    (_S.QUEUED, _A.HOLD): _S.ON_HOLD,
    (_S.RUNNING, _A.CLAIM): _S.RUNNING,
    (_S.RUNNING, _A.INTERRUPT): _S.QUEUED,
    (_S.RUNNING, _A.FULFIL): _S.FULFILLED,
    (_S.RUNNING, _A.FAIL): _S.FAILED,
    (_S.RUNNING, _A.BLOCK): _S.BLOCKED,
    (_S.RUNNING, _A.QUARANTINE): _S.QUARANTINED,
    (_S.ON_HOLD, _A.RELEASE): _S.QUEUED,
    (_S.ON_HOLD, _A.DENY): _S.DENIED,
    (_S.ON_HOLD, _A.CANCEL): _S.CANCELLED,
    (_S.FAILED, _A.RETRY): _S.QUEUED,
    (_S.FAILED, _A.DENY): _S.DENIED,
    (_S.FAILED, _A.CANCEL): _S.CANCELLED,
    (_S.BLOCKED, _A.RETRY): _S.QUEUED,
    (_S.BLOCKED, _A.DENY): _S.DENIED,
    (_S.BLOCKED, _A.CANCEL): _S.CANCELLED,
    (_S.QUARANTINED, _A.RETRY): _S.QUEUED,
    (_S.QUARANTINED, _A.DENY): _S.DENIED,
    (_S.QUARANTINED, _A.CANCEL): _S.CANCELLED,
    (_S.FULFILLED, _A.REOPEN): _S.REOPENED,
    (_S.FULFILLED, _A.WITHDRAW): _S.WITHDRAWN,
    (_S.REOPENED, _A.RETRY): _S.QUEUED,
    (_S.REOPENED, _A.DENY): _S.DENIED,
    (_S.REOPENED, _A.WITHDRAW): _S.WITHDRAWN,
    (_S.AWAITING_APPROVAL, _A.EXTEND): _S.AWAITING_APPROVAL,
    (_S.QUEUED, _A.EXTEND): _S.QUEUED,
    (_S.RUNNING, _A.EXTEND): _S.RUNNING,
    (_S.ON_HOLD, _A.EXTEND): _S.ON_HOLD,
    (_S.FAILED, _A.EXTEND): _S.FAILED,
    (_S.BLOCKED, _A.EXTEND): _S.BLOCKED,
    (_S.QUARANTINED, _A.EXTEND): _S.QUARANTINED,
    (_S.REOPENED, _A.EXTEND): _S.REOPENED,
}
"""Next state by state and action. A running request can be claimed again, because its lease may have expired. To extend
the due date changes no state: it is possible in every state in which the due date counts."""

OPEN_STATES = frozenset(
    {
        _S.AWAITING_APPROVAL,
        _S.QUEUED,
        _S.RUNNING,
        _S.ON_HOLD,
        _S.FAILED,
        _S.BLOCKED,
        _S.QUARANTINED,
        _S.REOPENED,
    }
)
"""States in which somebody still waits for the outcome and the due date counts."""


def next_state(state: RequestState, action: Action, *, request_id: int) -> RequestState:
    """Return the state that an action leads to.

    Args:
        state: The current state.
        action: The action.
        request_id: Number of the request, for the error message.

    Raises:
        TransitionError: The action is not allowed from this state.
    """
    try:
        return TRANSITIONS[state, action]
    except KeyError:
        raise TransitionError(
            f"request {request_id} is {state.value}; it cannot {action.value} from there", _way_on(state, request_id)
        ) from None


def _way_on(state: RequestState, request_id: int) -> str:
    """Return what a person can do about a request in a state that does not allow what they asked for."""
    if state is RequestState.RUNNING:
        return (
            "a worker carries it out, or held it when it died: wait until it is done or its lease has run out; "
            f"to take it from the worker: unledger request release {request_id} --force --reason TEXT"
        )
    allowed = sorted(a.value for s, a in TRANSITIONS if s is state and a in PERSONAL_ACTIONS)
    return f"allowed now: {', '.join(allowed)}" if allowed else "this state is final"


PERSONAL_ACTIONS = frozenset({_A.APPROVE, _A.DENY, _A.CANCEL, _A.HOLD, _A.RELEASE, _A.RETRY, _A.WITHDRAW, _A.EXTEND})
"""Actions that a person takes; the others are taken by workers and by rollback."""
