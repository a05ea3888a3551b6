"""The worker: what it does when a gate is missed, data changes, somebody interrupts it, or takes its place."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ledger.domain.models import Architecture
from ledger.domain.settings import Settings
from ledger.domain.states import Action, RequestState
from ledger.errors import DataError, GateError, NotFoundError, RetryLaterError, TooFewRetainedError, TransitionError
from ledger.service.computation import unlearning
from ledger.service.computation.compute import open_unlearning
from ledger.service.computation.unlearning import propose
from ledger.service.progress import Silent
from ledger.service.requests import claims, worker
from ledger.service.requests.claims import claim_next
from ledger.service.requests.retention import check_retained
from ledger.service.requests.worker import carry_out, work
from ledger.spaces.activations import collect_spaces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ledger.service.computation.workbench import Workbench
    from ledger.service.versions.proposal import Proposal
    from tests.ledgers.desk import Desk

    Meanwhile = Callable[[], object]

STRICT = Settings(
    solvers=("projection", "least-squares"),
    retain_samples=10,
    forget_samples=10,
    rows_per_class=20,
    calibration_samples=10,
    # The weakest edit there is: the class will still be known.
    alpha_r=(1000.0,),
    alpha_f=(1.0,),
)


@pytest.fixture
def while_computing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Meanwhile], None]:
    """Let something happen once, after new weights were computed and before they are committed."""

    def arrange(meanwhile: Meanwhile) -> None:
        waiting = [meanwhile]

        def computed(*arguments: Any) -> Proposal:
            proposal = propose(*arguments)
            if waiting:
                waiting.pop()()
            return proposal

        monkeypatch.setattr(unlearning, "propose", computed)

    return arrange


# -- gates ------------------------------------------------------------------------------------------


def test_a_missed_gate_leaves_the_decision_to_a_person(desk: Desk) -> None:
    desk.register("strict", STRICT)
    desk.file(3, model="strict")
    [done] = desk.work()
    assert isinstance(done.error, GateError)
    assert (done.version, done.request.state) == (None, RequestState.BLOCKED)
    assert "3 is still recognised" in done.request.outcome
    assert desk.live("strict").number == 0
    [blocked] = desk.events("request.blocked")
    assert blocked.data["error"] == "GateError"
    assert blocked.note == done.request.outcome

    # Trying again changes nothing, and is not done without being told to.
    assert desk.work() == []
    desk.decide(1, Action.RETRY)
    [again] = desk.work()
    assert again.request.state is RequestState.BLOCKED


def test_a_person_may_accept_what_a_gate_would_not(desk: Desk) -> None:
    desk.register("strict", STRICT)
    desk.file(3, model="strict")
    desk.work()
    version = desk.retry(1, waive_gates=True)
    assert version is not None
    assert desk.live("strict") == version
    assert desk.request(1).gates_waived
    [retried] = desk.events("request.retried")
    assert retried.data["gates_waived"] is True
    [fulfilled] = desk.events("request.fulfilled")
    assert fulfilled.data["gates_missed"] == 1


def test_losing_too_much_of_the_rest_is_a_missed_gate_too(desk: Desk) -> None:
    changes = {"solvers": ("projection",), "depths": (4,), "alpha_r": (1.0,), "alpha_f": (1e6,), "max_retained_drop": 0}
    ruthless = Settings(**{**vars(desk.digits.settings), **changes})
    desk.register("ruthless", ruthless)
    desk.file(3, model="ruthless")
    [done] = desk.work()
    assert done.request.state is RequestState.BLOCKED
    assert "retained classes lose" in done.request.outcome


def test_withdrawing_obeys_the_gates_as_well(desk: Desk) -> None:
    desk.register("strict", STRICT)
    for digit in (3, 7):
        desk.file(digit, model="strict")
        desk.work()
        desk.retry(desk.request(1 if digit == 3 else 2).id, waive_gates=True)
    before = desk.live("strict")
    with pytest.raises(GateError):
        desk.withdraw(1)
    assert (desk.live("strict"), desk.state(1)) == (before, RequestState.FULFILLED)
    version = desk.withdraw(1, waive_gates=True)
    assert version is not None
    assert version.forgotten == {7}


# -- failures ---------------------------------------------------------------------------------------


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """A source of three classes that can be changed under the ledger's feet."""
    save_rows(tmp_path / "rows.npz", seed=0)
    (tmp_path / "rows.py").write_text(
        "from torch import nn\n\n"
        "def build(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(16, num_classes, bias=False))\n"
    )
    return tmp_path


def save_rows(path: Path, seed: int) -> None:
    """Write images of 4x4 pixels where class k is bright in row k."""
    labels = np.arange(90) % 3
    images = np.random.default_rng(seed).uniform(0, 0.2, (90, 4, 4)).astype(np.float32)
    images[np.arange(90), labels] += 0.8
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)


def register_rows(desk: Desk, folder: Path) -> None:
    """Register a linear model that tells the rows apart."""
    import torch
    from safetensors.torch import save_file

    weight = torch.zeros(3, 4, 4)
    weight[range(3), range(3)] = 5.0
    save_file({"1.weight": weight.flatten(1)}, folder / "rows.safetensors")
    desk.register(
        "rows",
        Settings(),
        architecture=Architecture(f"{folder / 'rows.py'}:build", {}),
        weights=folder / "rows.safetensors",
        data_spec=f"npz:{folder / 'rows.npz'}",
        preprocessing={"channels": 1, "height": 4, "width": 4, "mean": (0.0,), "std": (1.0,)},
    )


def test_changed_data_fails_the_request_until_it_is_restored(desk: Desk, own_data: Path) -> None:
    register_rows(desk, own_data)
    desk.file(1, model="rows")
    save_rows(own_data / "rows.npz", seed=1)
    [done] = desk.work()
    assert isinstance(done.error, DataError)
    assert "registered" in done.request.outcome
    assert (done.request.state, desk.live("rows").number) == (RequestState.FAILED, 0)

    desk.decide(1, Action.RETRY)
    assert desk.work()[0].request.state is RequestState.FAILED
    save_rows(own_data / "rows.npz", seed=0)
    version = desk.retry(1)
    assert version is not None
    assert version.forgotten == {1}
    assert [event.data["error"] for event in desk.events("request.failed")] == ["DataError", "DataError"]


def test_a_failure_does_not_hold_up_the_others(desk: Desk, own_data: Path) -> None:
    register_rows(desk, own_data)
    desk.file(1, model="rows")
    desk.file(3)
    (own_data / "rows.npz").unlink()
    failed, done = desk.work()
    assert (failed.request.state, done.request.state) == (RequestState.FAILED, RequestState.FULFILLED)


def test_a_missing_object_is_named_and_nothing_is_written(desk: Desk) -> None:
    base = desk.versions()[0].weights
    path = desk.root / "objects" / base[:2] / base[2:]
    data = path.read_bytes()
    path.unlink()
    desk.file(3)
    [done] = desk.work()
    assert base in done.request.outcome
    assert done.request.state is RequestState.FAILED
    path.write_bytes(data)
    assert desk.retry(1) == desk.live()


def test_a_plugin_that_breaks_fails_the_request_and_is_not_hidden(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Proposal:
        raise ZeroDivisionError("a handler divided by zero")

    monkeypatch.setattr(unlearning, "propose", broken)
    desk.file(3)
    with pytest.raises(ZeroDivisionError):
        desk.work()
    assert desk.request(1).state is RequestState.FAILED
    assert desk.request(1).outcome == "ZeroDivisionError: a handler divided by zero"
    monkeypatch.undo()
    assert desk.retry(1) is not None


def test_a_request_that_would_leave_too_few_fails_rather_than_doing_it(desk: Desk) -> None:
    desk.forget(3)
    desk.withdraw(1)
    # Filed while 3 was known, when two classes would have been left. Then version 1 comes back.
    desk.file(0, 1, 2, 4, 5, 6, 7, 8)
    desk.roll_back(1)
    with pytest.raises(TooFewRetainedError):
        desk.file(9)
    [done] = desk.work()
    assert isinstance(done.error, TooFewRetainedError)
    assert (done.request.state, desk.live().number) == (RequestState.FAILED, 3)
    with pytest.raises(TooFewRetainedError):
        desk.decide(2, Action.RETRY)


# -- interruptions ----------------------------------------------------------------------------------


def test_an_interrupted_worker_puts_the_request_back_and_keeps_what_it_collected(
    desk: Desk, second_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[int] = []

    def until_interrupted(*arguments: Any, **options: Any) -> Any:
        if len(collected) == 4:
            raise KeyboardInterrupt
        collected.append(len(collected))
        return collect_spaces(*arguments, **options)

    monkeypatch.setattr("ledger.units.collecting.collect_spaces", until_interrupted)
    desk.file(3)
    with pytest.raises(KeyboardInterrupt):
        desk.work()
    back = desk.request(1)
    assert (back.state, back.attempts, back.lease_owner) == (RequestState.QUEUED, 0, None)
    assert desk.live().number == 0
    assert len(desk.events("class_space.collected")) == 4
    assert [event.kind for event in desk.events("request.interrupted")] == ["request.interrupted"]

    monkeypatch.undo()
    [done] = desk.work()
    assert done.version is not None
    seen = [event.data["class"] for event in desk.events("class_space.collected")]
    assert seen == list(range(10))
    assert done.version.weights == second_desk.forget(3).weights
    assert done.request.attempts == 0


@pytest.mark.parametrize("accident", [KeyboardInterrupt, SystemExit])
def test_no_number_of_interruptions_quarantines(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, accident: type[BaseException]
) -> None:
    def interrupted(*_: Any) -> Proposal:
        raise accident

    monkeypatch.setattr(unlearning, "propose", interrupted)
    desk.file(3)
    for _ in range(claims.MOST_CRASHES + 2):
        with pytest.raises(accident):
            desk.work()
        assert desk.state(1) is RequestState.QUEUED


# -- leases -----------------------------------------------------------------------------------------


def test_a_worker_that_lost_its_lease_cannot_commit(desk: Desk, while_computing: Callable[[Meanwhile], None]) -> None:
    other = desk.open_again()
    taken: list[Any] = []

    def somebody_takes_over() -> None:
        desk.expire(1)
        taken.append(claim_next(other, "somebody else"))

    while_computing(somebody_takes_over)
    desk.file(3)
    with pytest.raises(RetryLaterError, match="lease"):
        desk.work()
    running = desk.request(1)
    assert (running.state, running.lease_owner, running.lease_epoch) == (RequestState.RUNNING, "somebody else", 2)
    assert [version.number for version in desk.versions()] == [0]
    assert desk.events("version.created")[-1].data["version"] == 0
    assert desk.events("request.interrupted") == []

    # Whoever took over finishes it.
    done = carry_out(other, desk.model(), open_unlearning(other, "digits"), taken[0], Silent())
    assert (done.request.state, desk.live().number) == (RequestState.FULFILLED, 1)


def test_a_lease_that_ran_out_is_lost_even_if_nobody_took_over(
    desk: Desk, while_computing: Callable[[Meanwhile], None]
) -> None:
    while_computing(lambda: desk.expire(1))
    desk.file(3)
    with pytest.raises(RetryLaterError, match="lease"):
        desk.work()
    assert (desk.state(1), desk.live().number) == (RequestState.RUNNING, 0)
    # The next worker finds it, although it does not know what became of the first.
    [done] = desk.work()
    assert (done.request.state, done.request.lease_epoch) == (RequestState.FULFILLED, 2)


def test_a_failure_after_the_lease_was_lost_is_not_recorded_as_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost_then_broken(*_: Any) -> Proposal:
        desk.expire(1)
        raise DataError("too late to matter")

    monkeypatch.setattr(unlearning, "propose", lost_then_broken)
    desk.file(3)
    with pytest.raises(RetryLaterError):
        desk.work()
    assert desk.state(1) is RequestState.RUNNING
    assert desk.events("request.failed") == []


def test_a_heartbeat_keeps_the_lease_while_work_takes_longer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(bench: Workbench, *arguments: Any) -> Proposal:
        time.sleep(7)
        return propose(bench, *arguments)

    monkeypatch.setattr(unlearning, "propose", slow)
    desk.file(3)
    [done] = work(desk.ledger, Silent(), lease=6.0)
    assert done.version is not None
    assert (done.version.number, done.request.lease_epoch) == (1, 1)


def test_the_live_version_moved_meanwhile(two_forgotten: Desk, while_computing: Callable[[Meanwhile], None]) -> None:
    while_computing(lambda: two_forgotten.roll_back(1))
    two_forgotten.file(0)
    with pytest.raises(RetryLaterError, match="became live"):
        two_forgotten.work()
    back = two_forgotten.request(3)
    assert (back.state, back.attempts, two_forgotten.live().number) == (RequestState.QUEUED, 0, 3)
    [done] = two_forgotten.work()
    assert done.version is not None
    assert done.version.forgotten == {0, 3}


def test_the_live_version_moved_while_there_was_nothing_to_do(
    two_forgotten: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Version 3 forgets 7 for nobody, so a request for it needs no weights, until version 1 is live again.
    two_forgotten.withdraw(2)
    waiting = two_forgotten.file(7)
    two_forgotten.roll_back(2)
    check = check_retained

    def meanwhile(*arguments: Any) -> None:
        monkeypatch.undo()
        two_forgotten.roll_back(1)
        check(*arguments)

    monkeypatch.setattr(worker, "check_retained", meanwhile)
    with pytest.raises(RetryLaterError):
        two_forgotten.work()
    assert two_forgotten.state(waiting.id) is RequestState.QUEUED
    [done] = two_forgotten.work()
    assert done.version is not None
    assert done.version.forgotten == {3, 7}


def test_a_withdrawal_that_somebody_overtook_changes_nothing(
    two_forgotten: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*arguments: Any) -> Proposal:
        proposal = propose(*arguments)
        two_forgotten.roll_back(1)
        return proposal

    monkeypatch.setattr("ledger.service.computation.unlearning.propose", computed)
    with pytest.raises(RetryLaterError):
        two_forgotten.withdraw(1)
    assert two_forgotten.state(1) is RequestState.FULFILLED
    assert two_forgotten.live().number == 3


def test_a_withdrawal_does_not_bring_back_what_somebody_asked_for_meanwhile(
    two_forgotten: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*arguments: Any) -> Proposal:
        proposal = propose(*arguments)
        # A receipt makes no version, so the live one is still what the computation began from.
        assert two_forgotten.file(3).no_op
        return proposal

    with monkeypatch.context() as patch:
        patch.setattr("ledger.service.computation.unlearning.propose", computed)
        with pytest.raises(RetryLaterError, match="changed meanwhile"):
            two_forgotten.withdraw(1)
    assert two_forgotten.state(1) is RequestState.FULFILLED
    assert two_forgotten.withdraw(1) is None
    assert two_forgotten.live().forgotten == {3, 7}


def test_three_vanished_workers_are_enough(desk: Desk) -> None:
    desk.file(3)
    waiting = desk.file(7)
    for attempt in range(1, claims.MOST_CRASHES + 1):
        claim = claim_next(desk.ledger, f"worker {attempt}")
        assert claim is not None
        assert (claim.request.id, claim.request.attempts, claim.epoch) == (1, attempt, attempt)
        assert claim_next(desk.open_again(), "impatient") is None
        desk.expire(1)
    # The next one sets it aside, and goes on with what waits behind it.
    [done] = desk.work()
    assert (done.request.id, done.request.state) == (waiting.id, RequestState.FULFILLED)
    aside = desk.request(1)
    assert (aside.state, aside.outcome) == (RequestState.QUARANTINED, "its worker vanished 3 times")
    assert desk.retry(1) is not None
    assert desk.live().forgotten == {3, 7}


def test_two_models_are_worked_on_independently(desk: Desk) -> None:
    desk.register("copy")
    first, second = desk.file(3), desk.file(3, model="copy")
    claim = claim_next(desk.open_again(), "busy")
    assert claim is not None
    assert claim.request.id == first.id
    [done] = desk.work()
    assert (done.request.id, done.model.name) == (second.id, "copy")
    assert (desk.live().number, desk.live("copy").number) == (0, 1)
    assert desk.work("digits") == []
    with pytest.raises(NotFoundError):
        desk.work("neither")

    compute = open_unlearning(desk.ledger, "digits")
    assert carry_out(desk.ledger, desk.model(), compute, claim, Silent()).request.state is RequestState.FULFILLED
    assert desk.live().weights == desk.live("copy").weights
    desk.roll_back(0)
    assert desk.live("copy").number == 1
    assert desk.state(second.id) is RequestState.FULFILLED


def test_two_workers_at_once_do_everything_once(desk: Desk, second_desk: Desk) -> None:
    digits = (3, 7, 0)
    for digit in digits:
        desk.file(digit)
    outcomes: list[Any] = []
    ledgers = [desk.open_again() for _ in range(2)]
    drained = threading.Event()

    def drain(ledger: Any) -> None:
        # A worker that finds the model taken gives up: here it comes back until all is done.
        while not drained.is_set():
            outcomes.extend(work(ledger, Silent()))
            if all(desk.state(n) is RequestState.FULFILLED for n in range(1, len(digits) + 1)):
                drained.set()

    threads = [threading.Thread(target=drain, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert drained.is_set()
    assert sorted(outcome.request.id for outcome in outcomes) == [1, 2, 3]
    assert [version.number for version in desk.versions()] == [0, 1, 2, 3]
    assert len(desk.events("class_space.collected")) == len(
        {e.data["spec"] for e in desk.events("class_space.collected")}
    )
    assert desk.live().weights == second_desk.forget(*digits).weights


# -- nothing to do ------------------------------------------------------------------------------------


def test_a_class_already_forgotten_gets_a_receipt_and_no_version(two_forgotten: Desk) -> None:
    receipt = two_forgotten.file(3, 7, reason="somebody else asks")
    assert (receipt.state, receipt.no_op, receipt.version) == (RequestState.FULFILLED, True, 2)
    assert two_forgotten.live().number == 2
    assert two_forgotten.work() == []
    assert two_forgotten.events("request.fulfilled")[-1].data == {"version": 2, "no_op": True, "state": "fulfilled"}


def test_withdrawing_the_first_of_two_requests_keeps_the_class_forgotten(two_forgotten: Desk) -> None:
    receipt = two_forgotten.file(3)
    assert two_forgotten.withdraw(1) is None
    assert (two_forgotten.live().number, two_forgotten.state(1)) == (2, RequestState.WITHDRAWN)
    version = two_forgotten.withdraw(receipt.id)
    assert version is not None
    assert version.forgotten == {7}


def test_a_request_for_something_old_and_something_new(two_forgotten: Desk) -> None:
    mixed = two_forgotten.forget(3, 0)
    assert mixed.forgotten == {0, 3, 7}
    version = two_forgotten.withdraw(3)
    assert version is not None
    assert version.weights == two_forgotten.versions()[2].weights


def test_a_queued_request_that_became_needless_is_fulfilled_without_a_version(two_forgotten: Desk) -> None:
    two_forgotten.withdraw(2)
    waiting = two_forgotten.file(7)
    two_forgotten.roll_back(2)
    [done] = two_forgotten.work()
    assert (done.request.id, done.version, done.request.no_op, done.request.version) == (waiting.id, None, True, 4)


def test_only_what_is_fulfilled_can_be_withdrawn_with_weights(two_forgotten: Desk) -> None:
    queued = two_forgotten.file(0)
    with two_forgotten.unchanged():
        with pytest.raises(TransitionError, match="queued"):
            two_forgotten.withdraw(queued.id)
        with pytest.raises(NotFoundError):
            two_forgotten.withdraw(99)
