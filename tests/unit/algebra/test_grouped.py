"""Many narrow maps at once, against the same maps one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.algebra.grouped import (
    HALF_PRECISION_ROUNDING,
    GroupedAccumulator,
    GroupedSpace,
    grouped_forget_weights,
    grouped_mean,
    grouped_retain_weights,
    grouped_stack,
)
from ledger.algebra.least_squares import least_squares_delta
from ledger.algebra.map_factors import MapFactors
from ledger.algebra.moment_forms import Triangle
from ledger.algebra.projection import projection_delta
from ledger.algebra.spaces import Space, forget_weights, retain_weights, stack
from ledger.algebra.strength import Strength
from tests.unit.algebra.dense import untruncated_space


def rows_of(seed: int, groups: int, count: int, width: int) -> Tensor:
    """Return rows (g, n, i) whose groups differ in energy and lean towards some directions."""
    generator = torch.Generator().manual_seed(seed)
    lean = 10 ** -torch.rand(groups, 1, width, generator=generator)
    return torch.randn(groups, count, width, generator=generator) * lean * (1 + torch.arange(groups))[:, None, None]


def single(rows: Tensor) -> list[Space]:
    """Return each group's space, one by one and without truncation."""
    return [untruncated_space(group) for group in rows]


def together(rows: Tensor, batch: int = 10**6) -> GroupedSpace:
    accumulator = GroupedAccumulator(rows.shape[0], rows.shape[2])
    for part in torch.split(rows, batch, dim=1):
        accumulator.update(part)
    return accumulator.space()


SHAPES = {
    "seed": st.integers(0, 2**16),
    "groups": st.integers(1, 5),
    "count": st.integers(1, 40),
    "width": st.integers(1, 12),
}


@given(**SHAPES, batch=st.integers(1, 50))
def test_moments_are_those_of_each_group_alone_however_rows_are_batched(
    seed: int, groups: int, count: int, width: int, batch: int
) -> None:
    rows = rows_of(seed, groups, count, width)
    space, alone = together(rows, batch), single(rows)
    assert (space.rows, space.groups, space.width) == (count, groups, width)
    torch.testing.assert_close(
        space.trace, torch.tensor([s.trace for s in alone], dtype=torch.float64), rtol=1e-5, atol=0
    )
    expected = torch.stack([s.factor @ s.factor.T for s in alone]).double()
    torch.testing.assert_close(space.moments(), expected, rtol=0, atol=1e-5)
    assert space.mean is not None
    # Sums of a chunk are formed in float32.
    np.testing.assert_allclose(space.mean.numpy(), rows.numpy().astype(np.float64).mean(1), rtol=0, atol=1e-6)


@given(**SHAPES)
def test_half_precision_takes_no_more_than_stated(seed: int, groups: int, count: int, width: int) -> None:
    space = together(rows_of(seed, groups, count, width))
    stored = GroupedSpace(space.packed.half(), width, count, space.trace)
    lost = torch.linalg.matrix_norm(stored.moments() - space.moments(), ord=2)
    assert float(lost.max()) <= HALF_PRECISION_ROUNDING


@given(**SHAPES, classes=st.integers(1, 4))
def test_stacked_factors_are_those_of_each_group_alone(
    seed: int, groups: int, count: int, width: int, classes: int
) -> None:
    rows = [rows_of(seed + k, groups, count, width) * (k + 1) for k in range(classes)]
    spaces, alone = [together(r) for r in rows], [single(r) for r in rows]
    for grouped, one_by_one in ((grouped_retain_weights, retain_weights), (grouped_forget_weights, forget_weights)):
        factor = grouped_stack(spaces, grouped(spaces))
        for g in range(groups):
            of_group = [of_class[g] for of_class in alone]
            expected = stack(of_group, one_by_one(of_group))
            torch.testing.assert_close(factor[g] @ factor[g].T, expected @ expected.T, rtol=0, atol=1e-5)


@given(**SHAPES, split=st.integers(1, 4))
def test_a_mean_of_some_classes_counts_as_all_of_them(
    seed: int, groups: int, count: int, width: int, split: int
) -> None:
    spaces = [together(rows_of(seed + k, groups, count, width) * (k + 1)) for k in range(5)]
    for weights in (grouped_retain_weights, grouped_forget_weights):
        first = grouped_mean(spaces[:split], weights(spaces[:split]))
        assert first.classes == split
        assert first.mean is None, "a sum of classes has no mean of its own"
        rest = [first, *spaces[split:]]
        in_steps, at_once = grouped_mean(rest, weights(rest)), grouped_mean(spaces, weights(spaces))
        torch.testing.assert_close(in_steps.moments(), at_once.moments(), rtol=0, atol=1e-6)


@given(
    **SHAPES,
    outputs=st.integers(1, 4),
    alpha_r=st.floats(1, 1e3),
    alpha_f=st.floats(1, 1e3),
    solver=st.sampled_from([projection_delta, least_squares_delta]),
)
def test_edits_are_those_of_each_group_alone(
    seed: int, groups: int, count: int, width: int, outputs: int, alpha_r: float, alpha_f: float, solver: object
) -> None:
    assert callable(solver)
    retain, forget = ([rows_of(seed + k, groups, count, width) for k in ks] for ks in ((1, 2), (3,)))
    weight = torch.randn(groups, outputs, width, generator=torch.Generator().manual_seed(seed))
    kept, gone = [together(r) for r in retain], [together(r) for r in forget]
    factors = MapFactors(
        weight,
        grouped_stack(kept, grouped_retain_weights(kept)),
        grouped_stack(gone, grouped_forget_weights(gone)),
    )
    strength = Strength(alpha_r, alpha_f, 1)
    delta = solver(factors, strength)
    for g in range(groups):
        inside, outside = [single(r)[g] for r in forget], [single(r)[g] for r in retain]
        alone = MapFactors(weight[g], stack(outside, retain_weights(outside)), stack(inside, forget_weights(inside)))
        # Both form the same products in float32; alphas multiply what that rounds off.
        torch.testing.assert_close(delta[g], solver(alone, strength), rtol=5e-3, atol=5e-3)


def test_groups_without_energy_change_nothing_and_weigh_nothing() -> None:
    rows = rows_of(0, 3, 20, 4)
    rows[1] = 0
    space = together(rows)
    assert float(space.trace[1]) == 0
    assert not space.moments()[1].any()
    other = together(rows_of(1, 3, 20, 4))
    retain = grouped_stack([space, other], grouped_retain_weights([space, other]))
    torch.testing.assert_close((retain @ retain.mT)[1].double(), other.moments()[1], rtol=0, atol=1e-5)
    nothing = grouped_stack([space], grouped_retain_weights([space]))
    weight = torch.ones(3, 1, 4)
    delta = projection_delta(MapFactors(weight, retain, nothing), Strength(100.0, 10.0, 1))
    assert not delta[1].any()
    assert delta[0].any()


def test_no_rows_make_an_empty_space() -> None:
    asked_with_none = GroupedAccumulator(2, 3)
    asked_with_none.update(torch.zeros(2, 0, 3))
    for accumulator in (GroupedAccumulator(2, 3), asked_with_none):
        space = accumulator.space()
        assert (space.rows, space.packed.any().item(), space.trace.tolist()) == (0, False, [0.0, 0.0])
        assert space.mean is not None
        assert space.mean.tolist() == [[0.0] * 3] * 2


def test_packing_keeps_a_symmetric_matrix() -> None:
    moments = rows_of(0, 2, 9, 5).double()
    moments = moments.mT @ moments
    space = GroupedSpace.of(moments, 9, torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(space.moments(), moments, rtol=1e-6, atol=1e-6)
    assert space.packed.shape == (2, 15)
    assert Triangle(2).moments(torch.arange(3.0)[None])[0].tolist() == [[0.0, 1.0], [1.0, 2.0]]


@pytest.mark.parametrize("device", ["cpu"])
def test_a_space_moves_with_its_traces(device: str) -> None:
    moved = together(rows_of(0, 2, 9, 5)).to(torch.device(device))
    assert moved.mean is not None
    assert {moved.packed.device.type, moved.trace.device.type, moved.mean.device.type} == {device}
