"""Where two people are asked for, nobody brings their own request to a worker or past a gate alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ledger.config import create_config
from ledger.domain.access_policy import AccessPolicy
from ledger.domain.events.requests import RequestBlocked
from ledger.domain.states import Action, RequestState
from ledger.errors import ForbiddenError, UsageError
from ledger.service.ledger import create_ledger
from ledger.service.progress import Silent
from ledger.service.requests.decisions import decide
from ledger.service.requests.listing import show_request
from ledger.service.requests.withdrawal import withdraw
from tests.ledgers.sample import LABELS, START, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ledger.domain.requests import Request

OWN, OTHER = "bob", "grace"
"""Who files every request, and somebody else."""
BLOCKED = RequestBlocked(state=RequestState.BLOCKED, error="GateError", epoch=1)


@pytest.fixture
def sample(database_url: str, tmp_path: Path) -> Iterator[Sample]:
    """A ledger of two people where requests 1 and 2, both for class 0, were reopened by a rollback; 2 did nothing."""
    now = [START]
    opened = create_ledger(create_config(tmp_path / "ledger", database_url, "objects"), OWN, clock=lambda: now[0])
    built = Sample(opened, now)
    built.register(LABELS)
    built.forget(0)
    built.later()
    opened.config = replace(opened.config, access=AccessPolicy(four_eyes=True))
    assert built.file(0) == 2
    assert show_request(opened, 2)[1].no_op
    built.later()
    built.roll_back(0)
    yield built
    opened.close()


def decided(sample: Sample, actor: str, action: Action, *, waive_gates: bool = False) -> Request:
    sample.later()
    sample.ledger.actor = actor
    return decide(sample.ledger, 2, action, "so it shall be", waive_gates=waive_gates)


@pytest.mark.parametrize("waive_gates", [False, True])
def test_what_nobody_else_approved_is_not_retried_by_who_filed_it(sample: Sample, *, waive_gates: bool) -> None:
    before = show_request(sample.ledger, 2)[1]
    assert before.state is RequestState.REOPENED
    with pytest.raises(ForbiddenError, match="was filed by bob, who may not"):
        decided(sample, OWN, Action.RETRY, waive_gates=waive_gates)
    assert show_request(sample.ledger, 2)[1] == before
    assert decided(sample, OTHER, Action.RETRY, waive_gates=waive_gates).state is RequestState.QUEUED


def test_once_somebody_else_agreed_who_filed_it_may_retry_but_waive_nothing(sample: Sample) -> None:
    decided(sample, OTHER, Action.RETRY)
    with sample.ledger.database.write() as tx:
        tx.requests.act(2, Action.CLAIM, at=sample.now[0])
        tx.requests.act(2, Action.BLOCK, at=sample.now[0])
        tx.audit.append(BLOCKED, at=sample.now[0], actor=OTHER, model=sample.name, request_id=2)
    with pytest.raises(ForbiddenError, match="may not waive its gates"):
        decided(sample, OWN, Action.RETRY, waive_gates=True)
    assert decided(sample, OWN, Action.RETRY).state is RequestState.QUEUED


def test_one_person_may_still_give_their_request_up(sample: Sample) -> None:
    assert decided(sample, OWN, Action.DENY).state is RequestState.DENIED


def test_who_filed_a_request_waives_no_gates_by_withdrawing_it(sample: Sample) -> None:
    sample.ledger.actor = OWN
    with pytest.raises(ForbiddenError, match="may not waive its gates"):
        withdraw(sample.ledger, 2, "consent given again", Silent(), waive_gates=True)


def test_elsewhere_one_person_is_enough(sample: Sample) -> None:
    sample.ledger.config = replace(sample.ledger.config, access=AccessPolicy())
    assert decided(sample, OWN, Action.RETRY, waive_gates=True).state is RequestState.QUEUED


# -- waiving ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["", " \t"])
def test_gates_are_not_waived_for_no_reason(sample: Sample, reason: str) -> None:
    sample.ledger.actor = OTHER
    with pytest.raises(UsageError, match="waiving gates takes a reason"):
        decide(sample.ledger, 2, Action.RETRY, reason, waive_gates=True)
    with pytest.raises(UsageError, match="waiving gates takes a reason"):
        withdraw(sample.ledger, 2, reason, Silent(), waive_gates=True)
    assert show_request(sample.ledger, 2)[1].state is RequestState.REOPENED


@pytest.mark.parametrize("action", [Action.APPROVE, Action.DENY, Action.CANCEL, Action.HOLD, Action.RELEASE])
def test_what_computes_nothing_takes_neither_solvers_nor_waiving(sample: Sample, action: Action) -> None:
    sample.ledger.actor = OTHER
    with pytest.raises(UsageError, match=f"to {action} computes nothing"):
        decide(sample.ledger, 2, action, "so", waive_gates=True)
    with pytest.raises(UsageError, match=f"to {action} computes nothing"):
        decide(sample.ledger, 2, action, "so", solvers=["projection"])
