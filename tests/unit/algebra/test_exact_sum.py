"""Exact sums: the same to the bit in any order, with nothing left of what was taken away, and close to the real sum."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ledger.algebra import exact_sum
from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.exact_sum import ExactSum, GroupedExactSum, grouped_trace
from ledger.algebra.grouped import GroupedAccumulator, GroupedSpace
from ledger.algebra.map_factors import MapFactors
from ledger.algebra.redirect import redirect_delta
from ledger.algebra.spaces import Space, retain_weights, stack
from ledger.algebra.strength import Strength
from ledger.algebra.summed_moments import SummedMoments

WIDTH, CLASSES, GROUPS = 7, 5, 3
CPU = torch.device("cpu")
SCALES = st.integers(-30, 30).map(lambda power: 2.0**power)


def single(k: int, scale: float = 1.0) -> Space:
    """Return a class's space, as it is stored."""
    accumulator = CovarianceAccumulator(WIDTH, max_rank=4)
    accumulator.update(torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(k)) * scale)
    space = accumulator.space()
    return Space(space.factor.half(), space.rows, space.trace, space.error_bound)


def grouped(k: int, scale: float = 1.0) -> GroupedSpace:
    """Return a class's space at a layer of groups, the last of which is always zero."""
    accumulator = GroupedAccumulator(GROUPS, WIDTH)
    rows = torch.randn(GROUPS, 20, WIDTH, generator=torch.Generator().manual_seed(k)) * scale
    rows[-1] = 0
    accumulator.update(rows)
    space = accumulator.space()
    return GroupedSpace(space.packed.half(), WIDTH, space.rows, space.trace)


def equal(one: dict[int, Tensor], other: dict[int, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[band], other[band]) for band in one)


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[float], list[int], list[int]]:
    """Return the scale of each class, an order to add them in, and the classes to take away again."""
    scales = draw(st.lists(SCALES, min_size=CLASSES, max_size=CLASSES))
    return scales, draw(st.permutations(range(CLASSES))), draw(st.lists(st.integers(0, CLASSES - 1), unique=True))


@settings(max_examples=60, deadline=None)
@given(orders())
def test_any_order_and_anything_taken_away_leave_the_same_bits(case: tuple[list[float], list[int], list[int]]) -> None:
    scales, order, gone = case
    left = [k for k in range(CLASSES) if k not in gone]
    spaces = {k: single(k, scale) for k, scale in enumerate(scales)}
    added, plain = ExactSum(WIDTH), ExactSum(WIDTH)
    for k in order:
        added.add(spaces[k])
    traces = {k: space.trace for k, space in spaces.items()}
    added = ExactSum(WIDTH, added.bands(traces))  # as it comes back from a stored object
    for k in gone:
        added.add(spaces[k], -1)
    for k in left:
        plain.add(spaces[k])
    kept = {k: traces[k] for k in left}
    assert equal(added.bands(kept), plain.bands(kept))
    assert torch.equal(added.moments(kept, CPU).matrix(), plain.moments(kept, CPU).matrix())


@settings(max_examples=40, deadline=None)
@given(orders())
def test_the_same_holds_for_groups(case: tuple[list[float], list[int], list[int]]) -> None:
    scales, order, gone = case
    left = [k for k in range(CLASSES) if k not in gone]
    spaces = {k: grouped(k, scale) for k, scale in enumerate(scales)}
    traces = {k: grouped_trace(space) for k, space in spaces.items()}
    added, plain = GroupedExactSum(GROUPS, WIDTH), GroupedExactSum(GROUPS, WIDTH)
    for k in order:
        added.add(spaces[k])
    added = GroupedExactSum(GROUPS, WIDTH, added.bands(traces))
    for k in gone:
        added.add(spaces[k], -1)
    for k in left:
        plain.add(spaces[k])
    kept = {k: traces[k] for k in left}
    assert equal(added.bands(kept), plain.bands(kept))
    assert torch.equal(added.moments(kept, CPU).matrix(), plain.moments(kept, CPU).matrix())


def test_no_product_is_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    # The largest energy of a band, many classes at once: whole numbers as Python computes them.
    spaces = [single(k, 3.99) for k in range(40)]
    band, scale = exact_sum._place(spaces[0].trace)
    added = ExactSum(WIDTH)
    for space in spaces:
        added.add(space)
    expected = [[Fraction(0)] * WIDTH for _ in range(WIDTH)]
    for space in spaces:
        own = exact_sum._place(space.trace)[1]
        whole = [[int(x) for x in row] for row in (space.factor.double() * own).round().tolist()]
        for i in range(WIDTH):
            for j in range(WIDTH):
                expected[i][j] += sum(a * b for a, b in zip(whole[i], whole[j], strict=True))
    found = added.bands({k: space.trace for k, space in enumerate(spaces)})[band]
    assert scale > 0
    # Each of the blocks is one row here.
    assert found.tolist() == [int(expected[i][j]) for i in range(WIDTH) for j in range(i + 1)]
    monkeypatch.setattr(exact_sum, "CLASSES_AT_ONCE", 3)
    again = ExactSum(WIDTH)
    for space in reversed(spaces):
        again.add(space)
    assert torch.equal(again.bands({k: space.trace for k, space in enumerate(spaces)})[band], found)


def test_a_sum_is_that_of_the_stacked_factors_and_so_is_what_a_solver_makes_of_it() -> None:
    spaces = [single(k, 1.0 + k) for k in range(CLASSES)]
    added = ExactSum(WIDTH)
    for space in spaces:
        added.add(space)
    moments = added.moments({k: space.trace for k, space in enumerate(spaces)}, CPU)
    factor = stack(spaces, retain_weights(spaces))
    torch.testing.assert_close(moments.matrix(), (factor.double() @ factor.double().T), rtol=0, atol=1e-5)
    torch.testing.assert_close(moments.factor @ moments.factor.T, factor @ factor.T, rtol=0, atol=1e-5)
    rows = torch.randn(WIDTH, 2, generator=torch.Generator().manual_seed(9)).double()
    weight, forget = torch.ones(3, WIDTH), torch.zeros(WIDTH, 1)
    solved, reference = (MapFactors(weight, r, forget).protected(rows, 10.0) for r in (moments, factor))
    torch.testing.assert_close(solved, reference, rtol=1e-3, atol=1e-3)
    assert redirect_delta(MapFactors(weight, moments, forget), Strength(10.0, 1.0)).abs().max() == 0


def test_classes_without_energy_add_nothing() -> None:
    added = ExactSum(WIDTH)
    added.add(Space.empty(WIDTH))
    assert added.bands({0: 0.0}) == {}
    assert added.moments({0: 0.0}, CPU).matrix().abs().max() == 0


def test_groups_are_the_mean_of_their_classes_and_a_silent_group_stays_silent() -> None:
    spaces = [grouped(k, 1.0 + k) for k in range(CLASSES)]
    added = GroupedExactSum(GROUPS, WIDTH)
    for space in spaces:
        added.add(space)
    moments = added.moments({k: grouped_trace(space) for k, space in enumerate(spaces)}, CPU)
    total = sum(space.trace for space in spaces)
    expected = sum(space.moments() * space.trace[:, None, None] for space in spaces)
    assert isinstance(total, Tensor)
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(moments.matrix()[:-1], (expected / total[:, None, None])[:-1], rtol=0, atol=1e-6)
    assert moments.matrix()[-1].abs().max() == 0
    one = moments.one(0)
    torch.testing.assert_close(one.matrix(), moments.matrix()[0])
    assert isinstance(moments, SummedMoments)
