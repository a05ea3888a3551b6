"""The search for the alphas, on a linear network small enough to know what must come out."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.projection import Strength
from ledger.candidate import CandidateBuilder
from ledger.domain.linear_map import LinearMap
from ledger.domain.settings import Settings
from ledger.search import Batch, Calibration, StrengthSearch

CLASSES, WIDTH = 4, 12
SETTINGS = Settings(alpha_r=(10, 100, 1000), alpha_f=(1, 3, 10, 30, 100))


def features(k: int, count: int, seed: int) -> Tensor:
    """Return rows (n, i) around a direction of the class, with a part that all classes share."""
    noise = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)) * 0.05
    return torch.eye(WIDTH)[k] * 3 + 0.5 + noise


def network(state: Mapping[str, Tensor], rows: Tensor) -> Tensor:
    return torch.softmax(2 * (rows @ state["weight"].T), dim=1)


@pytest.fixture
def base() -> dict[str, Tensor]:
    return {"weight": torch.eye(CLASSES, WIDTH) - 0.1, "bias": torch.zeros(CLASSES)}


def builder(base: dict[str, Tensor], forgotten: frozenset[int]) -> CandidateBuilder:
    def space(k: int):  # type: ignore[no-untyped-def]
        accumulator = CovarianceAccumulator(WIDTH, max_rank=WIDTH)
        accumulator.update(features(k, 50, seed=k))
        return accumulator.space()

    outside = [space(k) for k in range(CLASSES) if k not in forgotten]
    inside = [space(k) for k in sorted(forgotten)]
    return CandidateBuilder(
        base, [LinearMap("weight", "weight", 0, CLASSES, WIDTH)], {"weight": outside}, {"weight": inside}
    )


def batches(classes: list[int], count: int = 40) -> tuple[Batch, ...]:
    rows = torch.stack([features(k, count, seed=100 + k) for k in classes], dim=1).flatten(0, 1)
    labels = torch.tensor(classes).repeat(count)
    return tuple(Batch(rows[i : i + 16], labels[i : i + 16]) for i in range(0, len(labels), 16))


def search(base: dict[str, Tensor], forgotten: frozenset[int], settings: Settings = SETTINGS) -> StrengthSearch:
    calibration = Calibration(batches(sorted(forgotten)), batches([k for k in range(CLASSES) if k not in forgotten]))
    return StrengthSearch(builder(base, forgotten), network, CLASSES, base, calibration, forgotten, settings)


@pytest.mark.parametrize("forgotten", [{2}, {0, 3}])
def test_the_chosen_pair_forgets_and_retains(base: dict[str, Tensor], forgotten: set[int]) -> None:
    known = network(base, features(2, 40, seed=9)).argmax(1)
    assert (known == 2).all()
    result = search(base, frozenset(forgotten)).run()
    assert {k: j.accuracy for k, j in result.forgotten.items()} == dict.fromkeys(sorted(forgotten), 0.0)
    assert all(j.confidence <= 1 / CLASSES for j in result.forgotten.values())
    assert result.retained.accuracy == result.base_retained.accuracy == 1.0


def test_the_search_is_a_function_of_the_set(base: dict[str, Tensor]) -> None:
    first, second = (search(base, frozenset({1, 2})).run() for _ in range(2))
    assert first.candidate.strength == second.candidate.strength
    assert first.trials == second.trials
    torch.testing.assert_close(first.candidate.state["weight"], second.candidate.state["weight"], rtol=0, atol=0)


def test_the_staircase_finds_what_the_whole_grid_holds(base: dict[str, Tensor]) -> None:
    forgotten = frozenset({2})
    chosen = search(base, forgotten).run()
    rows, labels = features(2, 40, seed=102), 2
    for alpha_r in SETTINGS.alpha_r:
        passing = []
        for alpha_f in SETTINGS.alpha_f:
            p = network(builder(base, forgotten).build(Strength(alpha_r, alpha_f)).state, rows)
            if not (p.argmax(1) == labels).any() and float(p[:, labels].mean()) <= 1 / CLASSES:
                passing.append(alpha_f)
        found = [t.alpha_f for t in chosen.trials if t.alpha_r == alpha_r and t.passed]
        assert min(found, default=None) == min(passing, default=None)
    best = max(t.retained for t in chosen.trials if t.retained is not None)
    winner = next(t for t in chosen.trials if (t.alpha_r, t.alpha_f) == _pair(chosen.candidate.strength))
    assert winner.retained is not None
    assert winner.retained >= best - 0.0025


def _pair(strength: Strength) -> tuple[float, float]:
    return strength.alpha_r, strength.alpha_f


def test_where_nothing_forgets_the_result_says_so(base: dict[str, Tensor]) -> None:
    weak = replace(SETTINGS, alpha_r=(1e6,), alpha_f=(1.0,))
    result = search(base, frozenset({2}), weak).run()
    assert not any(trial.passed for trial in result.trials)
    assert result.forgotten[2].accuracy > weak.max_forgotten_accuracy


def test_candidates_share_untouched_tensors_and_leave_the_base_alone(base: dict[str, Tensor]) -> None:
    before = {name: tensor.clone() for name, tensor in base.items()}
    candidate = builder(base, frozenset({2})).build(Strength(100, 10))
    assert candidate.state["bias"] is base["bias"]
    assert candidate.state["weight"] is not base["weight"]
    for name, tensor in before.items():
        torch.testing.assert_close(base[name], tensor, rtol=0, atol=0)
    (change,) = candidate.changes
    difference = candidate.state["weight"] - base["weight"]
    assert change.relative == pytest.approx(float(difference.norm() / base["weight"].norm()), rel=1e-4)
    assert candidate.size == change.relative
