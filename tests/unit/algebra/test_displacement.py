"""How far forgotten mean rows lie from the retained ones they resemble: by hand, and what no mixture may hold."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.algebra.displacement import Displacement, Mixture, displacement, restricted
from ledger.algebra.map_factors import MapFactors
from tests.unit.algebra.dense import factor_of, normal


@given(
    shares=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=8),
    pick=st.integers(1, 2**8 - 1),
    scale=st.sampled_from([1e-9, 1.0]),
)
def test_a_restricted_prediction_sums_to_one_and_masked_classes_have_no_say(
    shares: list[float], pick: int, scale: float
) -> None:
    retained = [k for k in range(len(shares)) if pick >> k & 1]
    prediction = torch.tensor(shares, dtype=torch.float32) * scale
    found = restricted(prediction, retained)
    assert found.dtype == torch.float32
    assert found.shape == (len(retained),)
    if retained:
        assert float(found.double().sum()) == pytest.approx(1.0, abs=1e-6)
        assert float(found.min()) >= 0
    others = prediction.clone()
    others[[k for k in range(len(shares)) if k not in retained]] = 0.7
    assert torch.equal(restricted(others, retained), found)


def test_a_restricted_prediction_keeps_the_ratios_of_what_is_left_in_the_order_asked_for() -> None:
    prediction = torch.tensor([0.1, 0.5, 0.0, 0.1, 0.3])
    torch.testing.assert_close(restricted(prediction, [4, 0, 2]), torch.tensor([0.75, 0.25, 0.0]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("rounding", [0.0, 1e-17, -1e-9])
def test_a_class_that_resembled_only_forgotten_ones_resembles_all_others_evenly(rounding: float) -> None:
    prediction = torch.tensor([0.6, 0.4, rounding, 0.0, 0.0])
    assert restricted(prediction, [2, 3, 4]).tolist() == pytest.approx([1 / 3] * 3)
    assert restricted(prediction, [3]).tolist() == [1.0]


def test_rounding_below_zero_is_no_negative_share() -> None:
    assert restricted(torch.tensor([-1e-8, 0.2, 0.2]), [0, 1, 2]).tolist() == [0.0, 0.5, 0.5]


def mixture(*shares: float, share: float = math.inf) -> Mixture:
    return Mixture(torch.tensor(shares, dtype=torch.float32), share)


def test_columns_are_classes_and_then_their_groups_by_hand() -> None:
    means = torch.tensor([[5.0, 0.0], [1.0, 2.0]])
    retained = torch.tensor([[1.0, 3.0], [0.0, 4.0]])
    first = [mixture(0.5, 0.5), mixture(1.0, 0.0, share=0.25)]
    second = [mixture(0.0, 1.0)]
    deviations = [torch.tensor([[2.0], [-1.0]]), torch.zeros(2, 0)]
    found = displacement(means, deviations, [first, second], retained)
    # Class: (5, 1) - (2, 2). Its group: (2, -1) less what the group's mixture (1, 0) is off the class's (2, 2).
    # The other class: (0, 2) - (3, 4).
    assert found.columns.T.tolist() == [[3.0, -1.0], [3.0, 1.0], [-3.0, -2.0]]
    assert found.weights.tolist() == [math.inf, 0.25, math.inf]
    assert found.weights.dtype == torch.float64
    assert torch.equal(found.retained, retained)


def test_where_deviations_are_not_known_there_are_only_the_classes() -> None:
    means, retained = normal(3, 6, 2).float(), normal(3, 6, 4, seed=1).float()
    mixtures = [
        [mixture(0.25, 0.25, 0.25, 0.25), mixture(1.0, 0.0, 0.0, 0.0, share=1.0)],
        [mixture(0.0, 0.0, 1.0, 0.0)],
    ]
    found = displacement(means, [], mixtures, retained)
    assert found.columns.shape == (3, 6, 2)
    assert found.weights.tolist() == [math.inf, math.inf]
    torch.testing.assert_close(found.columns[..., 0], means[..., 0] - retained.mean(-1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.columns[..., 1], means[..., 1] - retained[..., 2], rtol=1e-6, atol=1e-6)
    for g in range(3):
        alone = displacement(means[g], [], mixtures, retained[g])
        torch.testing.assert_close(found.columns[g], alone.columns, rtol=1e-6, atol=1e-6)


def test_a_class_that_is_its_mixture_is_not_displaced() -> None:
    retained = normal(5, 3).float()
    shares = torch.tensor([0.2, 0.3, 0.5])
    found = displacement((retained @ shares)[:, None], [], [[Mixture(shares, math.inf)]], retained)
    torch.testing.assert_close(found.columns, torch.zeros(5, 1), rtol=0, atol=1e-6)


# -- what the factors of a map make of it -----------------------------------------------------------


def map_factors(known: Displacement | None) -> MapFactors:
    return MapFactors(normal(3, 7), factor_of(normal(4, 7, seed=1)), normal(7, 0), displacement=known)


def known(columns: Tensor) -> Displacement:
    return Displacement(columns, torch.full((columns.shape[-1],), math.inf, dtype=torch.float64), normal(7, 2, seed=5))


@pytest.mark.parametrize("alpha_r", [1.0, 100.0, 1e4])
def test_protected_rows_solve_their_equation(alpha_r: float) -> None:
    factors = map_factors(known(normal(7, 3, seed=2)))
    dense = factors.retain @ factors.retain.T + torch.eye(7, dtype=torch.float64) / (alpha_r * 7)
    rows = normal(7, 2, seed=3)
    # Of a condition of up to 7 alpha_r.
    torch.testing.assert_close(dense @ factors.protected(rows, alpha_r), rows, rtol=1e-9, atol=1e-9)
    assert factors.displacement is not None
    columns = factors.protected_columns(alpha_r)
    torch.testing.assert_close(dense @ columns, factors.displacement.columns, rtol=1e-9, atol=1e-9)
    assert factors.protected_columns(alpha_r) is columns
    factors.protected_columns(2 * alpha_r)
    assert torch.equal(factors.protected_columns(alpha_r), columns)


def test_without_retained_rows_every_direction_is_free() -> None:
    bare = MapFactors(normal(3, 7), normal(7, 0), normal(7, 0), displacement=known(normal(7, 3, seed=2)))
    assert bare.displacement is not None
    torch.testing.assert_close(bare.protected_columns(10.0), 70 * bare.displacement.columns)


def test_without_a_displacement_there_is_nothing_to_protect() -> None:
    with pytest.raises(ValueError, match="no displacement"):
        map_factors(None).protected_columns(1.0)


def test_one_map_of_several_has_its_own_displacement() -> None:
    several = Displacement(normal(2, 7, 3), torch.full((3,), math.inf, dtype=torch.float64), normal(2, 7, 2, seed=1))
    factors = MapFactors(normal(2, 3, 7), normal(2, 7, 4), normal(2, 7, 1), displacement=several)
    second = factors.one(1).displacement
    assert second is not None
    assert torch.equal(second.columns, several.columns[1])
    assert torch.equal(second.retained, several.retained[1])
    assert torch.equal(second.weights, several.weights)
    unknown = MapFactors(normal(2, 3, 7), normal(2, 7, 4), normal(2, 7, 1))
    assert unknown.one(0).displacement is None
