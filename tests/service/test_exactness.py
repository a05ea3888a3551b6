"""The weights are a function of the set of classes forgotten: never of the order, or of what was undone between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ledger.domain.settings import Settings
from ledger.domain.states import RequestState
from ledger.domain.versions import VersionKind
from ledger.service.computation.class_space_collection import collect_class_space
from ledger.service.computation.compute import open_unlearning_afresh
from ledger.service.computation.workbench import Workbench
from tests.ledgers.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def _computed_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute every set, also one that was computed before: the bytes must be the same without being reused."""
    monkeypatch.setattr(Desk, "open_model", staticmethod(open_unlearning_afresh))


@pytest.fixture
def one_only(open_desk: Callable[[Path], Desk], _registered: Path) -> Callable[[int], str]:
    """Return the weights of a model that was only ever asked to forget one class."""

    def compute(digit: int) -> str:
        return open_desk(_registered).forget(digit).weights

    return compute


def test_every_class_was_known_and_the_forgotten_ones_are_gone(two_forgotten: Desk) -> None:
    before, after = two_forgotten.test_accuracy(0), two_forgotten.test_accuracy(2)
    assert min(before) > 0.9
    for digit in (3, 7):
        # The gate allows 1 % of calibration images; of the 45 test images of a class, two are spared for scatter.
        assert after[digit] <= 0.05
    retained = [digit for digit in range(10) if digit not in (3, 7)]
    assert sum(before[d] - after[d] for d in retained) / 8 <= 0.1
    assert min(after[d] for d in retained) > 0.75


def test_order_does_not_matter(two_forgotten: Desk, desk: Desk, second_desk: Desk) -> None:
    desk.forget(7)
    assert desk.forget(3).weights == two_forgotten.live().weights
    assert second_desk.forget(3, 7).weights == two_forgotten.live().weights
    assert len({version.weights for version in (*two_forgotten.versions(), *desk.versions())}) == 4


def test_withdrawing_one_gives_the_bytes_of_the_other_alone(
    two_forgotten: Desk, one_only: Callable[[int], str]
) -> None:
    version = two_forgotten.withdraw(1)
    assert version is not None
    assert (version.number, version.parent, version.kind) == (3, 2, VersionKind.WITHDRAW)
    assert version.forgotten == {7}
    assert version.weights == one_only(7)
    assert two_forgotten.test_accuracy(2)[3] <= 0.05
    assert two_forgotten.test_accuracy()[3] > 0.9
    assert two_forgotten.state(1) is RequestState.WITHDRAWN
    assert two_forgotten.state(2) is RequestState.FULFILLED


def test_withdrawing_all_gives_back_the_registered_bytes(two_forgotten: Desk) -> None:
    first, second = two_forgotten.withdraw(2), two_forgotten.withdraw(1)
    assert first is not None
    assert second is not None
    assert first.weights == two_forgotten.versions()[1].weights
    assert second.forgotten == frozenset()
    assert second.weights == two_forgotten.versions()[0].weights
    data = two_forgotten.ledger.objects.get(second.weights)
    assert data == two_forgotten.digits.weights.read_bytes()


def test_forgetting_again_after_a_withdrawal_gives_the_same_bytes(two_forgotten: Desk) -> None:
    before = two_forgotten.live()
    two_forgotten.withdraw(1)
    assert two_forgotten.forget(3).weights == before.weights


def test_a_retry_after_a_rollback_gives_the_same_bytes(two_forgotten: Desk) -> None:
    before = two_forgotten.live()
    two_forgotten.roll_back(1)
    version = two_forgotten.retry(2)
    assert version is not None
    assert (version.number, version.parent) == (4, 3)
    assert version.weights == before.weights
    assert version.recipe == before.recipe


def test_nothing_is_collected_twice(two_forgotten: Desk) -> None:
    with two_forgotten.ledger.database.read() as tx:
        spaces = tx.class_spaces.all(tx.models.get("digits"))
    # Of nine classes the retain samples, of 3 and then of 7 the forget samples.
    assert len(spaces) == 11
    two_forgotten.withdraw(1)
    two_forgotten.forget(3)
    # Only the retain samples of 3 were missing.
    assert len(two_forgotten.events("class_space.collected")) == 12


def test_a_version_names_the_spaces_of_both_its_bases(two_forgotten: Desk) -> None:
    with two_forgotten.ledger.database.read() as tx:
        terms = tx.versions.basis(tx.versions.get(tx.models.get("digits"), 2))
        spaces = {space.id: space for space in tx.class_spaces.all(tx.models.get("digits"))}
    assert sorted(term.class_index for term in terms if term.role == "forget") == [3, 7]
    assert sorted(term.class_index for term in terms if term.role == "retain") == [0, 1, 2, 4, 5, 6, 8, 9]
    for term in terms:
        assert spaces[term.class_space_id].class_index == term.class_index
        wanted = 90 if term.role == "forget" else 40
        assert len(spaces[term.class_space_id].samples) == wanted


def test_what_is_fixed_at_registration_is_what_is_used(desk: Desk) -> None:
    fixed = {"solvers": ("projection",), "depths": (2,), "alpha_r": (100.0,), "alpha_f": (3.0,)}
    desk.register("fixed", Settings(**{**vars(desk.digits.settings), **fixed, "max_forgotten_accuracy": 1.0}))
    recipe = desk.forget(3, model="fixed").recipe
    assert (recipe.solver, recipe.depth, recipe.layers) == ("projection", 2, 4)
    assert (recipe.alpha_r, recipe.alpha_f) == (100.0, 3.0)
    assert {(trial.solver, trial.depth) for trial in recipe.trials} == {("projection", 2)}


def test_a_class_is_collected_once_for_all_later_requests(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[int] = []

    def counting(bench: Workbench, class_index: int, *rest: Any, **options: Any) -> Any:
        collected.append(class_index)
        return collect_class_space(bench, class_index, *rest, **options)

    monkeypatch.setattr("ledger.service.computation.class_space_cache.collect_class_space", counting)
    desk.forget(3)
    assert sorted(collected) == list(range(10))
    collected.clear()
    desk.forget(7)
    # Of its retain samples 7 had a space; as a forgotten class it needs one of its forget samples.
    assert collected == [7]
    collected.clear()
    desk.withdraw(2)
    desk.forget(7)
    assert collected == []
