"""The streamed second moment against the explicit one, and what batching must not change."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.algebra import covariance
from ledger.algebra.covariance import CHUNK_ROWS, CovarianceAccumulator
from ledger.algebra.spaces import Space

SMALL_CHUNK = 8
"""Chunk size for random tests: several chunks, and maps wider than one, at little cost."""

FLOAT32_SLACK = 2e-6
"""Chunks are multiplied in float32: sums of up to 1,024 products carry about sqrt(1024) * 6e-8 of the trace."""


def collect(batches: list[Tensor], width: int, *, max_rank: int, tolerance: float = 0.0) -> Space:
    accumulator = CovarianceAccumulator(width, max_rank=max_rank)
    for batch in batches:
        accumulator.update(batch)
    return accumulator.space(tolerance=tolerance)


def moment(rows: Tensor) -> Tensor:
    """Return ``G / tr(G)`` in float64."""
    gram: Tensor = rows.double().T @ rows.double()
    return gram / gram.trace()


def error(space: Space, rows: Tensor) -> float:
    factor = space.factor.double()
    return float(torch.linalg.matrix_norm(moment(rows) - factor @ factor.T, ord=2))


def decaying_rows(count: int, width: int, seed: int, decay: float = 0.8) -> Tensor:
    """Return rows whose directions fade geometrically, as those of activations do."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
    scales = decay ** torch.arange(width, dtype=torch.float32)
    rows: Tensor = torch.randn(count, width, generator=generator) * scales @ basis
    return rows


def same(a: Space, b: Space) -> bool:
    return torch.equal(a.factor, b.factor) and (a.rows, a.trace, a.error_bound) == (b.rows, b.trace, b.error_bound)


@given(
    width=st.integers(1, 3 * SMALL_CHUNK),
    sizes=st.lists(st.integers(0, 2 * SMALL_CHUNK + 1), min_size=1, max_size=6),
    max_rank=st.integers(1, 12),
    seed=st.integers(0, 2**16),
)
def test_batching_changes_no_bit_in_either_form(width: int, sizes: list[int], max_rank: int, seed: int) -> None:
    rows = decaying_rows(sum(sizes), width, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covariance, "CHUNK_ROWS", SMALL_CHUNK)
        at_once = collect([rows], width, max_rank=max_rank)
        split = collect(list(torch.split(rows, sizes)), width, max_rank=max_rank)
        one_by_one = collect(list(torch.split(rows, 1)), width, max_rank=max_rank)
    assert same(split, at_once)
    assert same(one_by_one, at_once)


@pytest.mark.parametrize("count", [CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS])
def test_batching_changes_no_bit_at_the_true_chunk_boundary(count: int) -> None:
    rows = torch.randn(count, 24)
    at_once = collect([rows], 24, max_rank=16)
    assert same(collect(list(torch.split(rows, 100)), 24, max_rank=16), at_once)
    assert same(collect([rows[:CHUNK_ROWS], rows[CHUNK_ROWS:]], 24, max_rank=16), at_once)
    assert at_once.rows == count


def test_batching_changes_no_bit_in_a_map_wider_than_a_true_chunk() -> None:
    width = CHUNK_ROWS + 16
    rows = torch.randn(CHUNK_ROWS + 200, 40) @ torch.randn(40, width)
    at_once = collect([rows], width, max_rank=32)
    assert same(collect(list(torch.split(rows, 300)), width, max_rank=32), at_once)
    assert error(at_once, rows) <= at_once.error_bound + FLOAT32_SLACK
    assert at_once.rank == 32


@pytest.mark.parametrize("width", [5, 8, 9, 30])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 40])
def test_full_rank_equals_the_explicit_gram(width: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariance, "CHUNK_ROWS", SMALL_CHUNK)
    rows = torch.randn(count, width)
    space = collect([rows], width, max_rank=width)
    factor = space.factor.double()
    # Float32 products: a rounding of 6e-8 for each of a few additions.
    torch.testing.assert_close(factor @ factor.T, moment(rows), rtol=0, atol=5e-7)
    torch.testing.assert_close(float((factor * factor).sum()), 1.0, rtol=0, atol=1e-6)
    torch.testing.assert_close(space.trace, float(rows.double().square().sum()), rtol=1e-12, atol=0)
    assert space.rows == count
    assert space.factor.dtype == torch.float32
    assert space.factor.is_contiguous()


@given(
    width=st.integers(1, 3 * SMALL_CHUNK),
    count=st.integers(1, 5 * SMALL_CHUNK),
    max_rank=st.integers(1, 10),
    tolerance=st.sampled_from([0.0, 1e-4, 0.02, 0.5, 2.0]),
    decay=st.sampled_from([0.3, 0.8, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_error_bound_bounds_the_spectral_norm_of_the_error(
    width: int, count: int, max_rank: int, tolerance: float, decay: float, seed: int
) -> None:
    rows = decaying_rows(count, width, seed, decay)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covariance, "CHUNK_ROWS", SMALL_CHUNK)
        space = collect([rows], width, max_rank=max_rank, tolerance=tolerance)
    assert error(space, rows) <= space.error_bound + FLOAT32_SLACK
    assert space.rank <= min(max_rank, width)
    assert float(space.factor.double().square().sum()) <= 1.0 + FLOAT32_SLACK


@pytest.mark.parametrize("width", [6, 24])
def test_error_bound_of_a_single_chunk_is_the_first_eigenvalue_left_out(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(covariance, "CHUNK_ROWS", SMALL_CHUNK)
    rows = decaying_rows(SMALL_CHUNK - 1, width, seed=3)
    space = collect([rows], width, max_rank=3)
    fourth = float(torch.linalg.eigvalsh(moment(rows))[-4])
    assert fourth > 0.01
    torch.testing.assert_close(space.error_bound, fourth, rtol=0, atol=FLOAT32_SLACK)
    torch.testing.assert_close(error(space, rows), fourth, rtol=0, atol=FLOAT32_SLACK)


def test_each_recompression_of_a_wide_map_adds_to_the_error_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariance, "CHUNK_ROWS", SMALL_CHUNK)
    rows = decaying_rows(6 * SMALL_CHUNK, 20, seed=1)
    few = collect([rows[: 2 * SMALL_CHUNK]], 20, max_rank=4)
    many = collect([rows], 20, max_rank=4)
    assert many.error_bound * many.trace > few.error_bound * few.trace > 0


@pytest.mark.parametrize("width", [6, 24])
def test_columns_are_orthogonal_directions_in_falling_order(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariance, "CHUNK_ROWS", SMALL_CHUNK)
    space = collect([decaying_rows(40, width, seed=2)], width, max_rank=5)
    gram = (space.factor.T @ space.factor).double()
    energies = gram.diagonal()
    assert bool((energies[:-1] >= energies[1:]).all())
    torch.testing.assert_close(gram, energies.diag(), rtol=0, atol=FLOAT32_SLACK)


@pytest.mark.parametrize("width", [4, 24])
def test_directions_without_energy_are_not_kept(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariance, "CHUNK_ROWS", SMALL_CHUNK)
    # Small whole numbers multiply exactly in float32, so what is zero stays zero.
    rows = torch.zeros(20, width)
    rows[:, 0] = 3.0
    rows[::2, 2] = 1.0
    space = collect([rows], width, max_rank=width)
    assert space.rank == 2


@pytest.mark.parametrize("width", [4, 24])
@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_rows_that_are_all_zero_make_an_empty_space(
    width: int, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(covariance, "CHUNK_ROWS", SMALL_CHUNK)
    space = collect([torch.zeros(11, width)], width, max_rank=3, tolerance=tolerance)
    assert (space.rank, space.width, space.rows, space.trace, space.error_bound) == (0, width, 11, 0.0, 0.0)


@pytest.mark.parametrize("batches", [[], [torch.zeros(0, 4)], [torch.zeros(0, 4), torch.zeros(0, 4)]])
def test_no_rows_make_an_empty_space(batches: list[Tensor]) -> None:
    space = collect(batches, 4, max_rank=3)
    assert (space.rank, space.width, space.rows, space.trace, space.error_bound) == (0, 4, 0, 0.0, 0.0)


def test_zero_rows_count_as_rows_but_change_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariance, "CHUNK_ROWS", SMALL_CHUNK)
    rows = torch.randn(SMALL_CHUNK, 5)
    alone = collect([rows], 5, max_rank=5)
    padded = collect([rows, torch.zeros(SMALL_CHUNK, 5)], 5, max_rank=5)
    assert padded.rows == 2 * SMALL_CHUNK
    assert torch.equal(padded.factor, alone.factor)
    assert padded.trace == alone.trace


def test_a_tolerance_drops_what_max_rank_would_keep() -> None:
    rows = decaying_rows(50, 10, seed=4, decay=0.5)
    shares = torch.linalg.eigvalsh(moment(rows)).flip(0)
    tolerance = float(shares[2] + shares[3]) / 2
    space = collect([rows], 10, max_rank=10, tolerance=tolerance)
    assert space.rank == 3
    torch.testing.assert_close(space.error_bound, float(shares[3]), rtol=0, atol=FLOAT32_SLACK)


def test_scale_of_the_rows_moves_the_trace_alone() -> None:
    rows = torch.randn(30, 6)
    small, large = collect([rows], 6, max_rank=6), collect([rows * 1024], 6, max_rank=6)
    # A power of two changes exponents only.
    assert torch.equal(large.factor.abs(), small.factor.abs())
    assert large.trace == small.trace * 2**20


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_rows_of_any_floating_dtype_are_taken_as_float32(dtype: torch.dtype) -> None:
    rows = torch.randn(12, 4).to(dtype)
    assert same(collect([rows], 4, max_rank=4), collect([rows.float()], 4, max_rank=4))


def test_the_callers_rows_are_not_kept_or_changed() -> None:
    rows = torch.randn(5, 4)
    before = rows.clone()
    accumulator = CovarianceAccumulator(4, max_rank=4)
    accumulator.update(rows)
    assert torch.equal(rows, before)
    rows.zero_()
    assert same(accumulator.space(), collect([before], 4, max_rank=4))
