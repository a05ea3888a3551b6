"""The comparison of statistics measures what it says, on a small network that knows its digits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.domain.settings import Settings
    from ledger.service.computation.workbench import Workbench
    from tests.fixtures.trained_digits import TrainedDigits

PAIR = (100.0, 30.0)


@pytest.fixture(scope="module")
def sweeps(script: Callable[[str], Any]) -> Any:
    return script("sweeps")


@pytest.fixture(scope="module")
def comparison(sweeps: Any, trained_digits: TrainedDigits, open_bench: Callable[[Settings], Workbench]) -> Any:
    return sweeps.Comparison(open_bench(replace(trained_digits.settings, retain_samples=20, forget_samples=60)))


def weights(state: dict[str, torch.Tensor], layer: int) -> torch.Tensor:
    return state[f"{layer}.weight"]


def test_only_the_chain_depends_on_the_order(comparison: Any) -> None:
    for name in comparison.choices:
        rows, final = comparison.follow(name, (3, 5), [PAIR])
        assert [row.forgotten for row in rows] == [(3,), (3, 5)]
        found = comparison.compare_orders(name, (3, 5), final, PAIR)
        if name == "chain":
            assert not found.equal
            assert 0 < found.of_weights < found.of_edit
            assert found.of_edit > 0.01
        else:
            assert found.equal
            assert found.of_weights == found.of_edit == 0.0


def test_every_choice_forgets_a_class_that_was_known(comparison: Any) -> None:
    assert comparison.before[3] > 0.85
    for name in comparison.choices:
        [row], _ = comparison.follow(name, (3,), [PAIR])
        assert row.worst < 20, name
        assert row.drop < 30, name


def test_a_sweep_sees_what_earlier_edits_left(comparison: Any) -> None:
    """The first layer's inputs are the images: only later layers can differ from an edit of all layers at once."""
    base = comparison.bench.anchor_state
    [at_once] = comparison.registered([], 3, base, [PAIR])
    [swept] = comparison.sweep([], 3, base, [PAIR])
    torch.testing.assert_close(weights(swept, 0), weights(at_once, 0), rtol=0, atol=0)
    assert not torch.equal(weights(at_once, 0), weights(base, 0))
    assert (weights(swept, 6) - weights(at_once, 6)).abs().max() > 1e-4


def test_a_first_request_is_the_same_in_a_chain_and_a_second_one_is_not(comparison: Any) -> None:
    base = comparison.bench.anchor_state
    [first], [chained] = comparison.registered([], 3, base, [PAIR]), comparison.chain([], 3, base, [PAIR])
    torch.testing.assert_close(chained, first, rtol=0, atol=0)
    [both], [second] = comparison.registered([3], 5, first, [PAIR]), comparison.chain([3], 5, first, [PAIR])
    assert (weights(both, 6) - weights(second, 6)).abs().max() > 1e-4


def test_the_registered_network_is_left_alone(comparison: Any) -> None:
    comparison.sweep([], 3, comparison.bench.anchor_state, [PAIR])
    held = comparison.bench.network.state()
    torch.testing.assert_close(dict(held), dict(comparison.bench.anchor_state), rtol=0, atol=0)


def test_the_search_takes_what_forgets_and_then_what_retains(comparison: Any) -> None:
    base = comparison.bench.anchor_state
    ruined = {name: torch.zeros_like(tensor) for name, tensor in base.items()}
    # All answers equal: the first class is right, every other one forgotten, and nothing is retained.
    assert comparison.choose([base, ruined], [3]) == 1
    good = base | {"8.bias": base["8.bias"] - 1e3 * torch.eye(10)[3]}
    assert comparison.choose([base, ruined, good], [3]) == 2
    assert comparison.choose([good, base], [3]) == 0


def test_the_table_has_a_line_for_each_request(sweeps: Any) -> None:
    rows = [sweeps.Row("fixed", (3, 5)[:n], "sweep", 0.5, -0.25, 1.0, PAIR) for n in (1, 2)]
    lines = sweeps.table(rows).splitlines()
    assert lines[2:] == [
        "| fixed | 3 | sweep | 0.5 | -0.25 | 1.0 | (100, 30) |",
        "| fixed | 3, 5 | sweep | 0.5 | -0.25 | 1.0 | (100, 30) |",
    ]
