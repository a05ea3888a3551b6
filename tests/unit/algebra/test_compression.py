"""The leading part of many rows against a dense float64 decomposition, in each of its three forms."""

from collections.abc import Iterator
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.algebra import compression
from ledger.algebra.compression import (
    CUT_SAFETY_FACTOR,
    OVERSAMPLING,
    Compressed,
    compress,
    compress_gram,
    compress_moments,
    energy,
    truncate,
)

SHAPES = {"few rows": (10, 30), "few columns": (40, 12), "iterated": (60, 50)}
"""Rows and columns that lead to each form, for ranks up to ``MAX_RANK``."""
MAX_RANK = 8

ROUNDING = 2e-6
"""Of the largest eigenvalue: a float32 factor carries 6e-8 an entry, and some fifty entries are added up."""

any_form = pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
shapes = st.one_of(
    st.tuples(st.integers(1, 12), st.integers(1, 60)),
    st.tuples(st.integers(1, 60), st.integers(1, 12)),
    st.tuples(st.integers(MAX_RANK + OVERSAMPLING + 1, 60), st.integers(MAX_RANK + OVERSAMPLING + 1, 60)),
)


@pytest.fixture(autouse=True)
def _iterated_wherever_it_can() -> Iterator[None]:
    """Let no eigenproblem be small enough: what is larger than rank and oversampling is iterated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "LARGEST_EXACT_SIZE", 0)
        yield


def decaying_rows(shape: tuple[int, int], seed: int = 0, decay: float = 0.7) -> Tensor:
    """Return float32 rows whose singular values fade geometrically from 1."""
    generator = torch.Generator().manual_seed(seed)
    size = min(shape)
    left, right = (torch.linalg.qr(torch.randn(k, size, generator=generator, dtype=torch.float64))[0] for k in shape)
    rows: Tensor = (left * decay ** torch.arange(size)) @ right.T
    return rows.float()


def gram(rows: Tensor) -> Tensor:
    """Return ``X^T X`` in float64."""
    product: Tensor = rows.double().T @ rows.double()
    return product


def eigenvalues(rows: Tensor) -> Tensor:
    """Return the eigenvalues of ``X^T X`` in float64, in falling order."""
    values: Tensor = torch.linalg.svdvals(rows.double()).square()
    return values


def cut_off(rows: Tensor, found: Compressed) -> Tensor:
    """Return the eigenvalues of ``X^T X - F^T F``, in falling order."""
    values: Tensor = torch.linalg.eigvalsh(gram(rows) - gram(found.factor)).flip(0)
    return values


def floored(rows: Tensor, rank: int, floor: float) -> Compressed:
    """Return the leading directions whose energies are above a floor; what both steps cut off adds up."""
    whole = compress(rows, rank)
    end = truncate(whole.factor, floor)
    return Compressed(end.factor, whole.cut + end.cut)


@any_form
def test_the_factor_is_the_leading_part_of_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    rows = decaying_rows(shape)
    _, sigma, right = torch.linalg.svd(rows.double(), full_matrices=False)
    found = compress(rows, 4)
    assert found.factor.shape == (4, shape[1])
    torch.testing.assert_close(gram(found.factor), gram(sigma[:4, None] * right[:4]), rtol=0, atol=ROUNDING)
    # Direction by direction as well: each row is one singular vector times its value, but for the sign.
    aligned = (found.factor.double() @ right.T).abs()
    torch.testing.assert_close(aligned, (torch.eye(4, len(sigma)) * sigma), rtol=0, atol=ROUNDING**0.5)


@any_form
def test_all_directions_reproduce_the_rows(shape: tuple[int, int]) -> None:
    rows = decaying_rows(shape)
    found = compress(rows, min(shape))
    torch.testing.assert_close(gram(found.factor), gram(rows), rtol=0, atol=ROUNDING)
    assert found.cut <= ROUNDING


@any_form
def test_the_cut_is_the_first_eigenvalue_left_out_or_a_cautious_multiple_of_it(shape: tuple[int, int]) -> None:
    rows = decaying_rows(shape, decay=0.85)
    fifth = float(eigenvalues(rows)[4])
    assert fifth > 0.1
    caution = CUT_SAFETY_FACTOR if shape == SHAPES["iterated"] else 1.0
    # A Ritz value falls short of its eigenvalue, here by 4e-8 of it; the trace that was cut is 3.6 times it.
    torch.testing.assert_close(compress(rows, 4).cut, caution * fifth, rtol=1e-3, atol=0)


def test_the_cut_of_an_iteration_is_never_above_the_trace_that_was_cut() -> None:
    """Where a spectrum falls off a cliff, caution times the next value is more than all that is left."""
    rows = decaying_rows(SHAPES["iterated"], decay=0.5)
    left = float(eigenvalues(rows)[4:].sum())
    assert left < CUT_SAFETY_FACTOR * float(eigenvalues(rows)[4])
    # The trace is a difference of float32 energies, here 250 times as large.
    torch.testing.assert_close(compress(rows, 4).cut, left, rtol=1e-4, atol=0)


@given(
    shape=shapes,
    rank=st.integers(0, MAX_RANK),
    floor=st.sampled_from([0.0, 1e-3, 0.1, 2.0]),
    decay=st.sampled_from([0.2, 0.7, 0.95, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_compressing_never_invents_energy(
    shape: tuple[int, int], rank: int, floor: float, decay: float, seed: int
) -> None:
    """``F^T F`` stays below ``X^T X`` in every direction, whatever the spectrum."""
    rows = decaying_rows(shape, seed, decay)
    found = floored(rows, rank, floor)
    assert float(cut_off(rows, found)[-1]) >= -ROUNDING
    assert float(gram(found.factor).trace()) <= float(gram(rows).trace()) * (1 + ROUNDING)
    assert found.factor.shape[0] <= min(rank, *shape)
    assert found.factor.shape[1] == shape[1]
    assert found.factor.dtype == torch.float32
    assert found.factor.is_contiguous()


@given(
    shape=shapes,
    rank=st.integers(0, MAX_RANK),
    floor=st.sampled_from([0.0, 1e-3, 0.1, 2.0]),
    decay=st.sampled_from([0.2, 0.5, 0.7, 0.9, 0.95]),
    seed=st.integers(0, 2**16),
)
def test_the_cut_bounds_the_error_and_is_at_most_the_trace_that_was_cut(
    shape: tuple[int, int], rank: int, floor: float, decay: float, seed: int
) -> None:
    rows = decaying_rows(shape, seed, decay)
    found = floored(rows, rank, floor)
    left = cut_off(rows, found)
    assert float(left[0]) <= found.cut + ROUNDING
    assert found.cut <= float(left.sum()) + ROUNDING * min(shape)


@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.5])
@pytest.mark.parametrize("rank", [2, 40])
def test_the_cut_bounds_the_error_where_singular_values_fall_as_a_power(exponent: float, rank: int) -> None:
    generator = torch.Generator().manual_seed(1)
    turned = torch.linalg.qr(torch.randn(200, 200, generator=generator))[0]
    rows = torch.randn(220, 200, generator=generator) * torch.arange(1, 201) ** -exponent @ turned
    found = compress(rows, rank)
    left = cut_off(rows, found)
    assert float(eigenvalues(rows)[rank]) <= float(left[0]) * (1 + ROUNDING)
    assert float(left[0]) <= found.cut <= float(left.sum())


@any_form
def test_rows_are_orthogonal_and_in_falling_order_of_energy(shape: tuple[int, int]) -> None:
    factor = compress(decaying_rows(shape), 6).factor.double()
    products = factor @ factor.T
    energies = products.diagonal()
    assert bool((energies[:-1] > energies[1:]).all())
    torch.testing.assert_close(products, energies.diag(), rtol=0, atol=ROUNDING)


@any_form
def test_a_floor_drops_the_directions_below_it(shape: tuple[int, int]) -> None:
    rows = decaying_rows(shape)
    values = eigenvalues(rows)
    found = floored(rows, 6, float(values[2] + values[3]) / 2)
    assert found.factor.shape[0] == 3
    assert float(cut_off(rows, found)[0]) <= found.cut + ROUNDING
    assert found.cut <= float(values[3:].sum()) + ROUNDING


@pytest.mark.parametrize("whole", [torch.diag(torch.tensor([3.0, 2.0, 1.0])), torch.eye(3, 5) * 2])
def test_a_direction_whose_energy_equals_the_floor_is_dropped(whole: Tensor) -> None:
    found = floored(whole, 3, 4.0)
    assert (found.factor.shape[0], found.cut) == (int((eigenvalues(whole) > 4.0).sum()), 4.0)
    assert compress_gram(gram(whole), 3, floor=4.0).cut == 4.0


@any_form
def test_the_same_rows_give_the_same_bytes_whatever_the_random_state(shape: tuple[int, int]) -> None:
    rows = decaying_rows(shape)
    first = compress(rows, 5)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    second = compress(rows.clone(), 5)
    assert torch.equal(first.factor, second.factor)
    assert first.cut == second.cut
    assert torch.equal(torch.get_rng_state(), state)


@any_form
def test_the_rows_are_not_changed(shape: tuple[int, int]) -> None:
    rows = decaying_rows(shape)
    before = rows.clone()
    compress(rows, 5)
    assert torch.equal(rows, before)


@given(shape=shapes, rank=st.integers(0, 12), floor=st.sampled_from([0.0, 1e-3, 0.1]), seed=st.integers(0, 2**16))
def test_the_gram_matrix_gives_what_its_rows_give(shape: tuple[int, int], rank: int, floor: float, seed: int) -> None:
    # Iteration finds nearly the same; here the exact forms are compared, to rounding.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "LARGEST_EXACT_SIZE", 60)
        rows = decaying_rows(shape, seed)
        from_rows, from_gram = compress(rows, rank), compress_gram(gram(rows), rank, floor=floor)
    # One step knows that what it cuts off is orthogonal: the largest of it is all there is in any direction.
    end = truncate(from_rows.factor, floor)
    torch.testing.assert_close(gram(from_gram.factor), gram(end.factor), rtol=0, atol=ROUNDING)
    torch.testing.assert_close(from_gram.cut, max(from_rows.cut, end.cut), rtol=0, atol=ROUNDING)
    assert from_gram.factor.dtype == torch.float32
    assert from_gram.factor.is_contiguous()
    assert from_gram.factor.shape[0] <= min(rank, shape[1])


def test_a_gram_matrix_without_energy_has_no_directions() -> None:
    found = compress_gram(torch.zeros(4, 4, dtype=torch.float64), 3)
    assert (found.factor.shape, found.cut) == ((0, 4), 0.0)


@pytest.mark.parametrize(
    ("shape", "rank"), [((0, 5), 3), ((0, 40), 3), ((0, 0), 3), ((5, 0), 3), ((4, 5), 3), ((60, 50), 3)]
)
def test_no_rows_and_rows_without_energy_have_no_directions(shape: tuple[int, int], rank: int) -> None:
    found = compress(torch.zeros(shape), rank)
    assert (found.factor.shape, found.cut) == ((0, shape[1]), 0.0)


@any_form
def test_at_rank_zero_everything_is_cut(shape: tuple[int, int]) -> None:
    rows = decaying_rows(shape)
    found = compress(rows, 0)
    assert found.factor.shape == (0, shape[1])
    assert 1.0 - ROUNDING <= found.cut <= float(gram(rows).trace()) + ROUNDING


@pytest.mark.parametrize("shape", [(1, 40), (1, 1), (40, 1)])
def test_a_single_direction_is_kept_whole(shape: tuple[int, int]) -> None:
    rows = torch.randn(shape)
    found = compress(rows, 3)
    assert found.factor.shape == (1, shape[1])
    assert found.cut == 0.0
    torch.testing.assert_close(gram(found.factor), gram(rows), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("shape", [(10, 300), (300, 10), (60, 50), (320, 400)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_rows_of_few_directions_are_recovered_whole(shape: tuple[int, int], scale: float) -> None:
    """Also where the rows are so large both ways that they are iterated: five directions are found exactly."""
    rows = torch.randn(shape[0], 5) @ torch.randn(5, shape[1]) * scale
    found = compress(rows, MAX_RANK)
    size = float(eigenvalues(rows)[0])
    torch.testing.assert_close(gram(found.factor), gram(rows), rtol=0, atol=ROUNDING * size)
    assert found.factor.shape[0] >= 5
    assert found.cut <= ROUNDING * size
    # Whatever was kept beside the five is rounding; a floor above it leaves them alone.
    assert floored(rows, MAX_RANK, ROUNDING * size).factor.shape[0] == 5


def test_compressing_again_adds_the_two_errors_at_most() -> None:
    rows = decaying_rows(SHAPES["iterated"], decay=0.9)
    first = compress(rows, 30)
    second = compress(first.factor, MAX_RANK)
    assert float(cut_off(rows, second)[0]) <= first.cut + second.cut + ROUNDING
    assert float(cut_off(rows, second)[-1]) >= -ROUNDING


@pytest.mark.parametrize(
    ("shape", "rank", "sizes"),
    [
        ((20, 90), 2, []),
        ((90, 20), 2, []),
        ((21, 90), 2, [2 + OVERSAMPLING]),
        ((90, 21), 2, [2 + OVERSAMPLING]),
        ((30, 40), 30 - OVERSAMPLING, []),
        ((31, 40), 30 - OVERSAMPLING, [30]),
    ],
)
def test_only_what_is_large_both_ways_is_iterated(
    shape: tuple[int, int], rank: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "LARGEST_EXACT_SIZE", 20)
    called = []
    original = compression._iterated

    def watched(rows: Tensor, size: int) -> tuple[Tensor, Tensor]:
        called.append(size)
        return original(rows, size)

    monkeypatch.setattr(compression, "_iterated", watched)
    compress(decaying_rows(shape), rank)
    assert called == sizes


@pytest.mark.parametrize("width", [20, 50, 80])
@pytest.mark.parametrize("decay", [0.5, 0.8, 0.95])
def test_leading_directions_are_found_in_the_moments_alone(width: int, decay: float) -> None:
    rows = decaying_rows((200, width), decay=decay)
    moments = gram(rows).float()
    found = compress_moments(moments, MAX_RANK)
    # Moments were rounded to float32, and what was found in them divides by small numbers.
    rounding = 20 * ROUNDING
    beyond = cut_off(rows, found)
    assert found.factor.shape == (MAX_RANK, width)
    assert float(beyond[-1]) >= -rounding, "no energy is invented"
    assert float(beyond[0]) <= found.cut + rounding
    # Close to the best that can be done with so many directions.
    assert float(beyond[0]) <= 1.3 * float(eigenvalues(rows)[MAX_RANK]) + rounding


def test_moments_of_few_rows_have_no_more_directions() -> None:
    rows = decaying_rows((5, 60), decay=0.9)
    found = compress_moments(gram(rows).float(), 30)
    assert float(cut_off(rows, found).abs().max()) <= 20 * ROUNDING


def test_the_result_is_a_value() -> None:
    found = compress(torch.randn(3, 4), 2)
    with pytest.raises(FrozenInstanceError):
        found.cut = 0.0  # type: ignore[misc]


@pytest.mark.parametrize("shape", [(1, 1), (63, 5), (64, 5), (65, 300), (200, 7)])
def test_the_energy_is_the_trace_of_the_gram_matrix_in_double_precision(shape: tuple[int, int]) -> None:
    rows = torch.randn(shape) * 1e3
    assert energy(rows) == pytest.approx(float(rows.double().square().sum()), rel=1e-14)
