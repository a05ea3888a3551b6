"""A set that was computed before is not computed again: its bytes and recipe are those of then."""

from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ledger.domain.events.versions import VersionQuarantined
from ledger.domain.recipe import VersionRecipe
from ledger.domain.states import Action, RequestState
from ledger.errors import GateError, RowError
from ledger.plugin_manager import PluginInfo, Plugins
from ledger.service.computation import compute, pinning, reuse, unlearning
from ledger.service.computation.workbench import open_workbench
from ledger.service.progress import Silent
from ledger.service.requests.worker import work
from tests.ledgers.desk import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ledgers.desk import Desk


class Phases(Silent):
    """Remembers the names of phases."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def phase(self, name: str, total: int | None = None) -> None:
        self.names.append(name)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The sets that were really computed."""
    sets: list[set[int]] = []
    propose = unlearning.propose

    def counting(workbench: Any, forgotten: frozenset[int], progress: Any) -> Any:
        sets.append(set(forgotten))
        return propose(workbench, forgotten, progress)

    monkeypatch.setattr(unlearning, "propose", counting)
    return sets


@pytest.fixture
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def machine_with(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Let nothing pin the number of threads, and compute on so many."""
    monkeypatch.setattr(pinning, "_environment", lambda *_: {})
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_threads_as_before")
def test_a_set_has_one_digest_whatever_the_number_of_threads(
    desk: Desk, computed: list[set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, 1)
    first = desk.forget(3)
    withdrawn = desk.withdraw(1)
    assert withdrawn is not None
    assert withdrawn.forgotten == frozenset()
    computed.clear()
    machine_with(monkeypatch, 2)
    again = desk.forget(3)
    assert (again.number, again.weights, again.recipe) == (3, first.weights, first.recipe)
    assert again.recipe.environment["threads"] == 1
    assert computed == []
    with desk.ledger.database.read() as tx:
        model = tx.models.get(MODEL)
        assert tx.versions.basis(again) == tx.versions.basis(tx.versions.get(model, 1))


@pytest.mark.usefixtures("_threads_as_before")
@pytest.mark.parametrize("order", [(3, 5), (5, 3)])
def test_withdrawals_in_any_order_lead_back_to_the_same_bytes(
    desk: Desk, order: tuple[int, int], computed: list[set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, 1)
    alone, both = [desk.forget(digit) for digit in order]
    machine_with(monkeypatch, 2)
    back = desk.withdraw(2)
    assert back is not None
    assert (back.weights, back.recipe) == (alone.weights, alone.recipe)
    assert desk.forget(order[1]).weights == both.weights
    assert computed == [{order[0]}, {3, 5}]


def test_three_then_five_is_five_then_three(desk: Desk, second_desk: Desk) -> None:
    for digit in (3, 5):
        desk.forget(digit)
    for digit in (5, 3):
        second_desk.forget(digit)
    assert desk.live().weights == second_desk.live().weights


def test_progress_names_the_version_that_is_reused(two_forgotten: Desk) -> None:
    two_forgotten.withdraw(2)
    two_forgotten.file(7)
    seen = Phases()
    [outcome] = work(two_forgotten.ledger, seen, open_model=compute.open_unlearning)
    assert outcome.request.state is RequestState.FULFILLED
    assert seen.names == ["reuse version 2"]


def result(desk: Desk, *digits: int) -> Any:
    return reuse.earlier_result(open_workbench(desk.ledger, MODEL), frozenset(digits), Silent())


def change(desk: Desk, statement: str) -> None:
    with closing(sqlite3.connect(desk.root / "ledger.db")) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'versions'"
        for (name,) in connection.execute(query).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
        connection.commit()


def test_only_what_would_be_computed_the_same_way_is_reused(
    two_forgotten: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = two_forgotten
    found = result(desk, 3)
    assert (found.weights, found.recipe, found.missed_gates) == (
        desk.versions()[1].weights,
        desk.versions()[1].recipe,
        (),
    )
    assert result(desk, 7) is None
    assert result(desk) is None, "the registered weights were not computed"

    infos = desk.ledger.plugins.infos
    manager = desk.ledger.plugins._manager
    aside = PluginInfo("aside", "1", builtin=False, hooks=("unledger_evaluators",))
    solving = PluginInfo("solving", "1", builtin=False, hooks=("unledger_solvers",))
    newer = dataclasses.replace(next(i for i in infos if i.name == "layers_conv"), version="99")
    for changed, same in (
        ([*infos, aside], True),
        ([*infos, solving], False),
        ([newer if info.name == newer.name else info for info in infos], False),
    ):
        vars(desk.ledger)["plugins"] = Plugins(manager, changed)
        assert (result(desk, 3) is not None) is same
    vars(desk.ledger)["plugins"] = Plugins(manager, infos)

    bench = open_workbench(desk.ledger, MODEL)
    with monkeypatch.context() as edited:
        edited.setitem(vars(bench), "network", dataclasses.replace(bench.network, code_digest="0" * 64))
        assert reuse.earlier_result(bench, frozenset({3}), Silent()) is None
    bench.model = dataclasses.replace(bench.model, data_digest="0" * 64)
    assert reuse.earlier_result(bench, frozenset({3}), Silent()) is None


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE versions SET purged_at = created_at WHERE number = 1",
        "UPDATE versions SET recipe = json_set(recipe, '$.search.retained.accuracy', 1.0) WHERE number = 1",
        "UPDATE versions SET weights = (SELECT weights FROM versions WHERE number = 2) WHERE number = 1",
    ],
)
def test_what_is_not_as_the_log_says_is_not_reused(two_forgotten: Desk, damage: str) -> None:
    bench = open_workbench(two_forgotten.ledger, MODEL)
    assert reuse.earlier_result(bench, frozenset({3}), Silent()) is not None
    change(two_forgotten, damage)
    with pytest.raises(RowError, match="versions digits/1"):
        reuse.earlier_result(bench, frozenset({3}), Silent())


def test_what_is_set_apart_is_not_reused(two_forgotten: Desk) -> None:
    first = two_forgotten.versions()[1]
    with two_forgotten.ledger.database.write() as tx:
        tx.versions.quarantine(first, "altered")
        tx.audit.append(
            VersionQuarantined(version=1, weights=first.weights, fault="altered"),
            at=two_forgotten.now,
            actor="tester",
            model=MODEL,
        )
    assert result(two_forgotten, 3) is None


def test_damaged_weights_are_computed_again(two_forgotten: Desk, computed: list[set[int]]) -> None:
    first = two_forgotten.versions()[1]
    path = next(p for p in (two_forgotten.root / "objects").rglob("*") if p.name.startswith(first.weights[2:]))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    withdrawn = two_forgotten.withdraw(2)
    assert withdrawn is not None
    assert withdrawn.weights == first.weights
    assert computed == [{3}]


def test_a_version_whose_gates_were_waived_does_not_pass_them_for_others(
    two_forgotten: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = open_workbench(two_forgotten.ledger, MODEL)
    strict = dataclasses.replace(bench.model.settings, max_retained_drop=-1.0)
    bench.model = dataclasses.replace(bench.model, settings=strict)
    found = reuse.earlier_result(bench, frozenset({3}), Silent())
    assert found is not None
    with pytest.raises(GateError, match="retained classes lose"):
        found.require_gates(Action.RETRY, 1)
    computed = unlearning.propose(bench, frozenset({3}), Silent())
    assert computed.missed_gates == found.missed_gates


def test_a_recipe_without_figures_is_not_reused(two_forgotten: Desk) -> None:
    bench = open_workbench(two_forgotten.ledger, MODEL)
    assert reuse._missed_gates(bench, VersionRecipe({"solver": "projection"}), frozenset({3})) is None


def test_a_recipe_that_does_not_tell_what_the_masked_original_answers_is_not_reused(two_forgotten: Desk) -> None:
    bench = open_workbench(two_forgotten.ledger, MODEL)
    recipe = two_forgotten.versions()[1].recipe
    assert recipe.mask_retained.accuracy is not None
    assert reuse._missed_gates(bench, recipe, frozenset({3})) == ()
    search = {name: value for name, value in recipe.document["search"].items() if name != "mask_retained"}
    earlier = VersionRecipe({**recipe.document, "search": search})
    assert earlier.base_retained.accuracy is not None
    assert reuse._missed_gates(bench, earlier, frozenset({3})) is None


def test_the_gate_is_judged_by_what_is_lost_against_the_masked_original(two_forgotten: Desk) -> None:
    bench = open_workbench(two_forgotten.ledger, MODEL)
    recipe = two_forgotten.versions()[1].recipe
    figures = {"retained": 0.90, "base_retained": 0.89, "mask_retained": 1.0}
    scores = {name: {"accuracy": value, "confidence": value} for name, value in figures.items()}
    gained = VersionRecipe({**recipe.document, "search": {**recipe.document["search"], **scores}})
    assert bench.model.settings.max_retained_drop == 0.1
    assert reuse._missed_gates(bench, gained, frozenset({3})) == ()
    strict = dataclasses.replace(bench.model.settings, max_retained_drop=0.05)
    bench.model = dataclasses.replace(bench.model, settings=strict)
    (missed,) = reuse._missed_gates(bench, gained, frozenset({3})) or ()
    assert missed.gate == "max_retained_drop <= 0.05"
    assert missed.told == (
        "retained classes lose 10.0 points on calibration images against the registered network with the forgotten "
        "classes masked, the gate allows 5.0"
    )


def test_what_is_opened_afresh_computes(two_forgotten: Desk, computed: list[set[int]]) -> None:
    made = compute.open_unlearning_afresh(two_forgotten.ledger, MODEL)(frozenset({3}), Silent(), ())
    assert made.weights == two_forgotten.versions()[1].weights
    assert computed == [{3}]
    assert compute.open_unlearning(two_forgotten.ledger, MODEL)(frozenset({3}), Silent(), ()).weights == made.weights
    assert computed == [{3}]
