"""The streamed second moment against the explicit one, and what batching must not change."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.algebra import compression, covariance
from ledger.algebra.compression import LARGEST_EXACT_SIZE, OVERSAMPLING
from ledger.algebra.covariance import CHUNK_ROWS, CovarianceAccumulator
from ledger.algebra.spaces import Space

SMALL_CHUNK = 8
"""Chunk size for random tests: several chunks, and maps wider than one, at little cost."""

FLOAT32_SLACK = 2e-6
"""Factors are float32: a wide map's is multiplied again with each chunk, a rounding of 6e-8 of the trace or so each."""

FORMS = ("gram", "exact", "iterated")
"""How second moments are kept: whole; or as a factor found from all eigenvalues, or from the leading ones."""


@contextmanager
def kept_as(form: str, *, chunk: int = SMALL_CHUNK, oversampling: int = 2) -> Iterator[None]:
    """Lead small maps into one of the forms.

    What is iterated needs more rows and columns than ``max_rank + oversampling``; the rest is exact there too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covariance, "CHUNK_ROWS", chunk)
        if form != "gram":
            patch.setattr(covariance, "LARGEST_EXACT_SIZE", 0)
        if form == "iterated":
            patch.setattr(compression, "LARGEST_EXACT_SIZE", 0)
            patch.setattr(compression, "OVERSAMPLING", oversampling)
        yield


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each form in turn, with small chunks."""
    with kept_as(request.param):
        yield request.param


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
    assert a.mean is not None
    assert b.mean is not None
    tensors = torch.equal(a.factor, b.factor) and torch.equal(a.mean, b.mean)
    return tensors and (a.rows, a.trace, a.error_bound) == (b.rows, b.trace, b.error_bound)


@pytest.mark.parametrize("kind", FORMS)
@given(
    width=st.integers(1, 3 * SMALL_CHUNK),
    sizes=st.lists(st.integers(0, 2 * SMALL_CHUNK + 1), min_size=1, max_size=6),
    max_rank=st.integers(1, 12),
    seed=st.integers(0, 2**16),
)
def test_batching_changes_no_bit_in_any_form(kind: str, width: int, sizes: list[int], max_rank: int, seed: int) -> None:
    rows = decaying_rows(sum(sizes), width, seed)
    with kept_as(kind):
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


@pytest.mark.parametrize("width", [LARGEST_EXACT_SIZE, LARGEST_EXACT_SIZE + 1])
def test_batching_changes_no_bit_where_maps_become_wide(width: int) -> None:
    """True sizes: the widest map with an exact Gram matrix, and the narrowest one that is iterated."""
    rows = decaying_rows(CHUNK_ROWS + 200, width, seed=5, decay=0.97)
    at_once = collect([rows], width, max_rank=32)
    assert same(collect(list(torch.split(rows, 300)), width, max_rank=32), at_once)
    assert error(at_once, rows) <= at_once.error_bound + FLOAT32_SLACK
    assert at_once.rank == 32
    accumulator = CovarianceAccumulator(width, max_rank=32)
    accumulator.update(rows)
    accumulator.space()
    assert (accumulator._gram is None) == (width > LARGEST_EXACT_SIZE)
    assert (accumulator._factor is None) == (width <= LARGEST_EXACT_SIZE)


@pytest.mark.parametrize("width", [5, 8, 9, 30])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 40])
def test_full_rank_equals_the_explicit_gram(width: int, count: int, form: str) -> None:
    rows = torch.randn(count, width)
    space = collect([rows], width, max_rank=width)
    factor = space.factor.double()
    # A float32 factor, compressed anew with each of five chunks in the wide form: a few roundings of 6e-8 each.
    torch.testing.assert_close(factor @ factor.T, moment(rows), rtol=0, atol=5e-7)
    torch.testing.assert_close(float((factor * factor).sum()), 1.0, rtol=0, atol=1e-6)
    torch.testing.assert_close(space.trace, float(rows.double().square().sum()), rtol=1e-12, atol=0)
    assert space.error_bound <= FLOAT32_SLACK
    assert space.rows == count
    assert space.factor.dtype == torch.float32
    assert space.factor.is_contiguous()


@pytest.mark.parametrize("kind", ["gram", "exact"])
@given(
    width=st.integers(1, 3 * SMALL_CHUNK),
    count=st.integers(1, 5 * SMALL_CHUNK),
    max_rank=st.integers(1, 10),
    tolerance=st.sampled_from([0.0, 1e-4, 0.02, 0.5, 2.0]),
    decay=st.sampled_from([0.3, 0.8, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_error_bound_bounds_the_spectral_norm_of_the_error(
    kind: str, width: int, count: int, max_rank: int, tolerance: float, decay: float, seed: int
) -> None:
    rows = decaying_rows(count, width, seed, decay)
    with kept_as(kind):
        space = collect([rows], width, max_rank=max_rank, tolerance=tolerance)
    assert error(space, rows) <= space.error_bound + FLOAT32_SLACK
    assert space.rank <= min(max_rank, width)
    assert float(space.factor.double().square().sum()) <= 1.0 + FLOAT32_SLACK


@given(
    width=st.integers(30, 60),
    count=st.integers(1, 160),
    max_rank=st.integers(1, 12),
    tolerance=st.sampled_from([0.0, 1e-4, 0.02]),
    decay=st.sampled_from([0.3, 0.8, 0.9, 0.95]),
    seed=st.integers(0, 2**16),
)
def test_error_bound_bounds_the_error_where_the_leading_directions_are_iterated(
    width: int, count: int, max_rank: int, tolerance: float, decay: float, seed: int
) -> None:
    """With the true oversampling, on spectra that fall as those of activations do.

    The bound of this form is an estimate: on a nearly flat spectrum the error may be a few per cent more.
    """
    rows = decaying_rows(count, width, seed, decay)
    with kept_as("iterated", chunk=48, oversampling=OVERSAMPLING):
        space = collect([rows], width, max_rank=max_rank, tolerance=tolerance)
    assert error(space, rows) <= space.error_bound + FLOAT32_SLACK
    kept = float(space.factor.double().square().sum())
    # Every compression reports at most the trace that it cut off, and all of them together at most what is missing.
    assert space.error_bound <= 1.0 - kept + FLOAT32_SLACK * width
    assert space.rank <= max_rank


@pytest.mark.parametrize("width", [6, 24])
@pytest.mark.parametrize("kind", ["gram", "exact"])
def test_error_bound_of_a_single_chunk_is_the_first_eigenvalue_left_out(width: int, kind: str) -> None:
    """Of one that is iterated it is a cautious multiple: see the tests of compression."""
    rows = decaying_rows(SMALL_CHUNK - 1, width, seed=3)
    with kept_as(kind):
        space = collect([rows], width, max_rank=3)
    fourth = float(torch.linalg.eigvalsh(moment(rows))[-4])
    assert fourth > 0.01
    torch.testing.assert_close(space.error_bound, fourth, rtol=0, atol=FLOAT32_SLACK)
    torch.testing.assert_close(error(space, rows), fourth, rtol=0, atol=FLOAT32_SLACK)


@pytest.mark.parametrize("kind", ["exact", "iterated"])
def test_each_recompression_of_a_wide_map_adds_to_the_error_bound(kind: str) -> None:
    rows = decaying_rows(6 * SMALL_CHUNK, 20, seed=1)
    with kept_as(kind):
        few = collect([rows[: 2 * SMALL_CHUNK]], 20, max_rank=4)
        many = collect([rows], 20, max_rank=4)
    assert many.error_bound * many.trace > few.error_bound * few.trace > 0


@pytest.mark.parametrize("width", [6, 24])
def test_columns_are_orthogonal_directions_in_falling_order(width: int, form: str) -> None:
    space = collect([decaying_rows(40, width, seed=2)], width, max_rank=5)
    gram = (space.factor.T @ space.factor).double()
    energies = gram.diagonal()
    assert bool((energies[:-1] >= energies[1:]).all())
    torch.testing.assert_close(gram, energies.diag(), rtol=0, atol=FLOAT32_SLACK)


@pytest.mark.parametrize("width", [4, 24])
def test_directions_without_energy_are_not_kept(width: int, form: str) -> None:
    rows = torch.zeros(20, width)
    rows[:, 0] = 3.0
    rows[::2, 2] = 1.0
    space = collect([rows], width, max_rank=width)
    assert space.rank == 2


@pytest.mark.parametrize("width", [4, 24])
@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_rows_that_are_all_zero_make_an_empty_space(width: int, tolerance: float, form: str) -> None:
    space = collect([torch.zeros(11, width)], width, max_rank=3, tolerance=tolerance)
    assert (space.rank, space.width, space.rows, space.trace, space.error_bound) == (0, width, 11, 0.0, 0.0)


@pytest.mark.parametrize("batches", [[], [torch.zeros(0, 4)], [torch.zeros(0, 4), torch.zeros(0, 4)]])
def test_no_rows_make_an_empty_space(batches: list[Tensor], form: str) -> None:
    space = collect(batches, 4, max_rank=3)
    assert (space.rank, space.width, space.rows, space.trace, space.error_bound) == (0, 4, 0, 0.0, 0.0)


def test_zero_rows_count_as_rows_but_change_nothing_else(form: str) -> None:
    rows = torch.randn(SMALL_CHUNK, 5)
    alone = collect([rows], 5, max_rank=5)
    padded = collect([rows, torch.zeros(SMALL_CHUNK, 5)], 5, max_rank=5)
    assert padded.rows == 2 * SMALL_CHUNK
    assert padded.trace == alone.trace
    # Bit by bit where the Gram matrix is kept; a factor is compressed once more, so to rounding.
    torch.testing.assert_close(
        padded.factor @ padded.factor.T,
        alone.factor @ alone.factor.T,
        rtol=0,
        atol=0 if form == "gram" else FLOAT32_SLACK,
    )


def test_a_tolerance_drops_what_max_rank_would_keep(form: str) -> None:
    rows = decaying_rows(50, 10, seed=4, decay=0.5)
    shares = torch.linalg.eigvalsh(moment(rows)).flip(0)
    tolerance = float(shares[2] + shares[3]) / 2
    space = collect([rows], 10, max_rank=10, tolerance=tolerance)
    assert space.rank == 3
    torch.testing.assert_close(space.error_bound, float(shares[3]), rtol=0, atol=FLOAT32_SLACK)


def test_scale_of_the_rows_moves_the_trace_alone(form: str) -> None:
    rows = torch.randn(30, 6)
    small, large = collect([rows], 6, max_rank=6), collect([rows * 1024], 6, max_rank=6)
    # A power of two changes exponents only.
    assert torch.equal(large.factor.abs(), small.factor.abs())
    assert large.trace == small.trace * 2**20


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_rows_of_any_floating_dtype_are_taken_as_float32(dtype: torch.dtype, form: str) -> None:
    rows = torch.randn(12, 4).to(dtype)
    assert same(collect([rows], 4, max_rank=4), collect([rows.float()], 4, max_rank=4))


def test_the_callers_rows_are_not_kept_or_changed(form: str) -> None:
    rows = torch.randn(5, 4)
    before = rows.clone()
    accumulator = CovarianceAccumulator(4, max_rank=4)
    accumulator.update(rows)
    assert torch.equal(rows, before)
    rows.zero_()
    assert same(accumulator.space(), collect([before], 4, max_rank=4))


def test_asking_for_the_space_loses_no_rows(form: str) -> None:
    rows = decaying_rows(29, 20, seed=7)
    looked_at = CovarianceAccumulator(20, max_rank=4)
    looked_at.update(rows[: 2 * SMALL_CHUNK])
    looked_at.space()
    looked_at.space()
    looked_at.update(rows[2 * SMALL_CHUNK :])
    # At a chunk's boundary the buffer would have been emptied next anyway.
    assert same(looked_at.space(), collect([rows], 20, max_rank=4))


def test_rows_that_follow_do_not_change_a_space(form: str) -> None:
    rows = decaying_rows(30, 20, seed=6)
    accumulator = CovarianceAccumulator(20, max_rank=4)
    accumulator.update(rows[:13])
    before = accumulator.space()
    accumulator.update(rows[13:])
    assert accumulator.space().rows == 30
    assert same(before, collect([rows[:13]], 20, max_rank=4))


# -- the mean row -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMS)
@given(
    width=st.integers(1, 3 * SMALL_CHUNK),
    count=st.integers(1, 5 * SMALL_CHUNK),
    max_rank=st.integers(1, 12),
    offset=st.floats(-1e3, 1e3),
    seed=st.integers(0, 2**16),
)
def test_the_mean_is_that_of_the_rows_whatever_the_rank(
    kind: str, width: int, count: int, max_rank: int, offset: float, seed: int
) -> None:
    rows = decaying_rows(count, width, seed) + offset
    with kept_as(kind):
        mean = collect(list(torch.split(rows, 3)), width, max_rank=max_rank).mean
    assert mean is not None
    assert mean.dtype == torch.float32
    # Summed up in float64: nothing is lost but the rounding to float32 at the end.
    np.testing.assert_allclose(mean.numpy(), rows.numpy().astype(np.float64).mean(0), rtol=1e-6, atol=1e-9)


def test_rows_that_are_zero_or_missing_have_mean_zero() -> None:
    for batches in ([torch.zeros(3, 5)], [torch.zeros(0, 5)], []):
        mean = collect(batches, 5, max_rank=2).mean
        assert mean is not None
        assert mean.tolist() == [0.0] * 5
