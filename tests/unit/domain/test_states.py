"""The life of a request: every pair of state and action, and the shape of the table as a whole."""

from itertools import product

import pytest

from ledger.domain.states import OPEN_STATES, PERSONAL_ACTIONS, TRANSITIONS, Action, RequestState, next_state
from ledger.errors import ConflictError, TransitionError

S, A = RequestState, Action

EXITS: dict[RequestState, dict[Action, RequestState]] = {
    S.AWAITING_APPROVAL: {A.APPROVE: S.QUEUED, A.DENY: S.DENIED, A.CANCEL: S.CANCELLED},
    S.QUEUED: {A.CLAIM: S.RUNNING, A.DENY: S.DENIED, A.CANCEL: S.CANCELLED, A.HOLD: S.ON_HOLD},
    S.RUNNING: {
        A.CLAIM: S.RUNNING,
        A.INTERRUPT: S.QUEUED,
        A.FULFIL: S.FULFILLED,
        A.FAIL: S.FAILED,
        A.BLOCK: S.BLOCKED,
        A.QUARANTINE: S.QUARANTINED,
    },
    S.ON_HOLD: {A.RELEASE: S.QUEUED, A.DENY: S.DENIED, A.CANCEL: S.CANCELLED},
    S.FAILED: {A.RETRY: S.QUEUED, A.DENY: S.DENIED, A.CANCEL: S.CANCELLED},
    S.BLOCKED: {A.RETRY: S.QUEUED, A.DENY: S.DENIED, A.CANCEL: S.CANCELLED},
    S.QUARANTINED: {A.RETRY: S.QUEUED, A.DENY: S.DENIED, A.CANCEL: S.CANCELLED},
    S.FULFILLED: {A.REOPEN: S.REOPENED, A.WITHDRAW: S.WITHDRAWN},
    S.REOPENED: {A.RETRY: S.QUEUED, A.DENY: S.DENIED, A.WITHDRAW: S.WITHDRAWN},
    S.DENIED: {},
    S.CANCELLED: {},
    S.WITHDRAWN: {},
}
"""Written out a second time on purpose: a slip in the table shows here."""
for _state in (
    S.AWAITING_APPROVAL,
    S.QUEUED,
    S.RUNNING,
    S.ON_HOLD,
    S.FAILED,
    S.BLOCKED,
    S.QUARANTINED,
    S.REOPENED,
):
    EXITS[_state][A.EXTEND] = _state

FINAL = frozenset({S.DENIED, S.CANCELLED, S.WITHDRAWN})
PAIRS = list(product(S, A))
WORKERS_ACTIONS = frozenset({A.CLAIM, A.INTERRUPT, A.FULFIL, A.FAIL, A.BLOCK, A.QUARANTINE})


@pytest.mark.parametrize(("state", "action"), PAIRS, ids=[f"{s}-{a}" for s, a in PAIRS])
def test_every_pair_of_state_and_action(state: RequestState, action: Action) -> None:
    if action in EXITS[state]:
        assert next_state(state, action, request_id=12) is EXITS[state][action]
        return
    with pytest.raises(TransitionError) as caught:
        next_state(state, action, request_id=12)
    assert caught.value.message == f"request 12 is {state.value}; it cannot {action.value} from there"
    personal = sorted(a.value for a in EXITS[state] if a in PERSONAL_ACTIONS)
    if state is S.RUNNING:
        assert "unledger request release 12 --force" in caught.value.hint
    else:
        assert caught.value.hint == (f"allowed now: {', '.join(personal)}" if personal else "this state is final")


def test_the_table_holds_nothing_else() -> None:
    expected = {(state, action): target for state, exits in EXITS.items() for action, target in exits.items()}
    assert expected == TRANSITIONS


def test_a_refused_transition_is_a_conflict() -> None:
    with pytest.raises(ConflictError) as caught:
        next_state(S.DENIED, A.RETRY, request_id=1)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("state", list(S))
def test_open_states_have_an_exit_and_final_states_have_none(state: RequestState) -> None:
    exits = {target for (source, _), target in TRANSITIONS.items() if source is state}
    if state in FINAL:
        assert not exits
        assert state not in OPEN_STATES
    else:
        assert exits - {state}
        assert (state in OPEN_STATES) == (state is not S.FULFILLED)


@pytest.mark.parametrize("state", sorted(OPEN_STATES))
def test_a_person_or_a_worker_can_lead_every_open_request_to_an_end(state: RequestState) -> None:
    by_hand_or_worker = {
        pair: target for pair, target in TRANSITIONS.items() if pair[1] in PERSONAL_ACTIONS | WORKERS_ACTIONS
    }
    reached, seen = {state}, {state}
    while reached:
        reached = {t for (source, _), t in by_hand_or_worker.items() if source in reached} - seen
        seen |= reached
    assert seen & FINAL
    assert S.FULFILLED in seen


@pytest.mark.parametrize("state", sorted(OPEN_STATES - {S.RUNNING}))
def test_a_person_can_stop_every_open_request_that_no_worker_holds(state: RequestState) -> None:
    stops = {
        target for (source, action), target in TRANSITIONS.items() if source is state and action in PERSONAL_ACTIONS
    }
    assert stops & FINAL


def test_a_running_request_belongs_to_its_worker() -> None:
    # A later due date is in no worker's way.
    assert {action for state, action in TRANSITIONS if state is S.RUNNING} == WORKERS_ACTIONS | {A.EXTEND}
    # And no other state lets a worker do more than claim.
    assert {a for s, a in TRANSITIONS if s is not S.RUNNING and a in WORKERS_ACTIONS} == {A.CLAIM}


def test_every_state_can_be_reached_from_filing() -> None:
    seen: set[RequestState] = set()
    reached = {S.AWAITING_APPROVAL, S.QUEUED}
    while reached:
        seen |= reached
        reached = {target for (source, _), target in TRANSITIONS.items() if source in reached} - seen
    assert seen == set(S)


def test_every_action_is_used() -> None:
    assert {action for _, action in TRANSITIONS} == set(A)


def test_only_rollback_reopens_and_only_what_was_fulfilled() -> None:
    assert [state for state, action in TRANSITIONS if action is A.REOPEN] == [S.FULFILLED]
    assert A.REOPEN not in PERSONAL_ACTIONS | WORKERS_ACTIONS
