"""Weighted sums of spaces, and the weights of retained and forgotten classes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.algebra import compression
from ledger.algebra import spaces as spaces_module
from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.spaces import Space, forget_weights, retain_weights, stack


def space_of(rows: Tensor, *, max_rank: int = 64) -> Space:
    accumulator = CovarianceAccumulator(rows.shape[1], max_rank=max_rank)
    accumulator.update(rows)
    return accumulator.space()


def second_moment(factor: Tensor) -> Tensor:
    return factor.double() @ factor.double().T


@given(
    width=st.integers(1, 12),
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    seed=st.integers(0, 2**16),
)
def test_retain_weighted_stack_is_the_trace_normalised_gram_of_all_rows(
    width: int, counts: list[int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(n, width, generator=generator) * (1 + k) for k, n in enumerate(counts)]
    spaces = [space_of(r) for r in rows]
    together = torch.cat(rows).double()
    gram = together.T @ together
    factor = stack(spaces, retain_weights(spaces))
    # Factors are float32, with entries up to 1: products carry a few roundings of 6e-8.
    torch.testing.assert_close(second_moment(factor), gram / gram.trace(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("ranks", [[2, 3], [4, 4], [3, 3, 3]])
def test_stack_weighs_each_space_and_is_never_wider_than_the_map(ranks: list[int]) -> None:
    width = 8
    spaces = [Space(torch.randn(width, r), rows=r, trace=1.0, error_bound=0.0) for r in ranks]
    weights = [0.5 / (1 + k) for k in range(len(ranks))]
    factor = stack(spaces, weights)
    expected = sum((w * second_moment(s.factor) for s, w in zip(spaces, weights, strict=True)), torch.zeros(8, 8))
    # Entries of several units in float32.
    torch.testing.assert_close(second_moment(factor), expected.double(), rtol=1e-5, atol=1e-5)
    assert factor.shape == (width, min(sum(ranks), width))
    assert factor.dtype == torch.float32


def test_a_narrow_stack_is_the_factors_side_by_side_in_the_order_given() -> None:
    first, second = (Space(torch.randn(6, 2), rows=2, trace=1.0, error_bound=0.0) for _ in range(2))
    factor = stack([first, second], [1.0, 0.25])
    torch.testing.assert_close(factor, torch.cat([first.factor, second.factor * 0.5], dim=1), rtol=0, atol=0)
    swapped = stack([second, first], [0.25, 1.0])
    assert not torch.equal(factor, swapped)
    # The order of columns is all that differs.
    torch.testing.assert_close(second_moment(factor), second_moment(swapped))


def fading_spaces(width: int, ranks: list[int], decay: float = 0.8) -> tuple[list[Space], list[float]]:
    """Return spaces whose directions fade, each in its own ones, and weights for them."""
    scales = decay ** torch.arange(max(ranks))
    factors = [torch.linalg.qr(torch.randn(width, r))[0] * scales[:r] for r in ranks]
    return [Space(f, rows=9, trace=1.0, error_bound=0.0) for f in factors], [1.0 / (1 + k) for k in range(len(ranks))]


def weighted_sum(spaces: list[Space], weights: list[float]) -> Tensor:
    return torch.stack([w * second_moment(s.factor) for s, w in zip(spaces, weights, strict=True)]).sum(dim=0)


@pytest.mark.parametrize(
    ("width", "exact"), [(20, 288), (60, 288), (60, 0)], ids=["few inputs", "few columns", "iterated"]
)
@pytest.mark.parametrize("largest", [8, 12])
def test_a_sum_of_more_directions_than_the_largest_stack_is_compressed_to_as_many(
    width: int, exact: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces_module, "LARGEST_STACK", largest)
    monkeypatch.setattr(compression, "LARGEST_EXACT_SIZE", exact)
    # 45 columns: more than rank and oversampling, so that the widest map's are iterated.
    spaces, weights = fading_spaces(width, [15, 15, 15])
    factor = stack(spaces, weights)
    whole = weighted_sum(spaces, weights)
    assert factor.shape == (width, largest)
    assert factor.dtype == torch.float32
    assert factor.is_contiguous()
    missing = torch.linalg.eigvalsh(whole - second_moment(factor))
    values = torch.linalg.eigvalsh(whole).flip(0)
    # Nothing is invented, and no more is cut than the first eigenvalue left out; iteration may miss a little of it.
    assert float(missing[0]) >= -1e-6
    assert float(missing[-1]) <= float(values[largest]) * (1.5 if exact == 0 else 1.0) + 1e-6
    assert float(values[largest]) > 0.05


@pytest.mark.parametrize("width", [5, 8])
def test_a_sum_that_only_exceeds_the_width_is_exact(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces_module, "LARGEST_STACK", 8)
    spaces, weights = fading_spaces(width, [5, 4, 3])
    factor = stack(spaces, weights)
    assert factor.shape == (width, width)
    # Float32 entries of order 1.
    torch.testing.assert_close(second_moment(factor), weighted_sum(spaces, weights), rtol=0, atol=1e-6)


def test_a_sum_that_just_fits_is_left_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces_module, "LARGEST_STACK", 8)
    spaces, weights = fading_spaces(20, [5, 3])
    expected = torch.cat([s.factor * w**0.5 for s, w in zip(spaces, weights, strict=True)], dim=1)
    assert torch.equal(stack(spaces, weights), expected)


def test_compressed_sums_of_the_same_spaces_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces_module, "LARGEST_STACK", 8)
    for exact in (0, 288):
        monkeypatch.setattr(compression, "LARGEST_EXACT_SIZE", exact)
        spaces, weights = fading_spaces(60, [15, 15, 15])
        assert torch.equal(stack(spaces, weights), stack(spaces, weights))


@pytest.mark.parametrize("largest", [4, 8])
def test_directions_shared_by_all_spaces_survive_any_compression(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces_module, "LARGEST_STACK", largest)
    shared = torch.linalg.qr(torch.randn(30, 3))[0]
    spaces = [Space(shared @ torch.randn(3, 3), rows=3, trace=1.0, error_bound=0.0) for _ in range(5)]
    factor = stack(spaces, [0.2] * 5)
    # Fifteen columns, but three directions; float32 entries of order 1.
    assert factor.shape[1] <= largest
    torch.testing.assert_close(second_moment(factor), weighted_sum(spaces, [0.2] * 5), rtol=0, atol=2e-6)


@pytest.mark.parametrize("ranks", [[2, 3], [5, 5, 5]])
def test_factors_as_stored_in_float16_are_summed_in_float32(ranks: list[int]) -> None:
    spaces, weights = fading_spaces(8, ranks)
    stored = [replace(s, factor=s.factor.half()) for s in spaces]
    widened = [replace(s, factor=s.factor.float()) for s in stored]
    factor = stack(stored, weights)
    assert factor.dtype == torch.float32
    assert torch.equal(factor, stack(widened, weights))
    # Half precision keeps eleven bits of each entry.
    torch.testing.assert_close(second_moment(factor), weighted_sum(spaces, weights), rtol=0, atol=4e-3)


def test_a_space_moves_to_a_device_whole() -> None:
    space = space_of(torch.randn(4, 5))
    moved = space.to(torch.device("meta"))
    assert moved.factor.device.type == "meta"
    assert space.factor.device.type == "cpu"
    assert (moved.width, moved.rank, moved.rows) == (5, 4, 4)
    assert (moved.trace, moved.error_bound) == (space.trace, space.error_bound)
    assert torch.equal(space.to(torch.device("cpu")).factor, space.factor)


def test_the_same_spaces_in_the_same_order_give_the_same_bits() -> None:
    spaces = [space_of(torch.randn(9, 5)) for _ in range(4)]
    weights = retain_weights(spaces)
    assert torch.equal(stack(spaces, weights), stack(spaces, weights))


def test_stack_refuses_weights_that_do_not_match_the_spaces() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        stack([Space.empty(3), Space.empty(3)], [1.0])


def test_empty_spaces_add_nothing() -> None:
    space = space_of(torch.randn(4, 5))
    empty = Space.empty(5, rows=3)
    weights = retain_weights([empty, space, empty])
    assert weights == [0.0, 1.0, 0.0]
    torch.testing.assert_close(stack([empty, space, empty], weights), space.factor, rtol=0, atol=0)
    assert stack([empty, empty], [0.5, 0.5]).shape == (5, 0)


def test_retain_weights_follow_energy_and_not_the_number_of_rows() -> None:
    quiet = Space(torch.zeros(2, 1), rows=1000, trace=1.0, error_bound=0.0)
    loud = Space(torch.zeros(2, 1), rows=1, trace=3.0, error_bound=0.0)
    assert retain_weights([quiet, loud]) == [0.25, 0.75]


def test_retain_weights_of_spaces_without_energy_are_zero() -> None:
    assert retain_weights([Space.empty(2), Space.empty(2)]) == [0.0, 0.0]
    assert retain_weights([]) == []


@given(count=st.integers(1, 50))
def test_forget_weights_are_equal_shares_whatever_the_energy(count: int) -> None:
    spaces = [Space(torch.zeros(2, 1), rows=k, trace=float(k), error_bound=0.0) for k in range(count)]
    assert forget_weights(spaces) == [1.0 / count] * count


def test_an_empty_space_knows_its_width_and_rows() -> None:
    space = Space.empty(7, rows=4)
    assert (space.width, space.rank, space.rows, space.trace, space.error_bound) == (7, 0, 4, 0.0, 0.0)
