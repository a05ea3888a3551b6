"""What is kept of the second moments of windows, against the whole."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn
from torch import Tensor
from torch.nn.functional import unfold

from ledger.algebra.grouped import GroupedAccumulator, GroupedSpace, grouped_retain_weights, grouped_stack
from ledger.algebra.moment_forms import COUPLED, PAIRS, Spectrum, Triangle, form_of, moment_form

SIDE = st.sampled_from([5, 6, 7])


def maps(seed: int, channels: int, pixels: int) -> Tensor:
    """Return feature maps (channels, pixels, pixels) that are smooth and mostly positive, each to its own degree."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(pixels)[:, None], np.fft.rfftfreq(pixels)) * pixels
    falling = 1 / (1 + frequency) ** generator.uniform(0.5, 2, (channels, 1, 1))
    noise = np.fft.irfft2(
        np.fft.rfft2(generator.standard_normal((channels, pixels, pixels))) * falling, (pixels, pixels)
    )
    shown = noise / noise.std((1, 2), keepdims=True) + 0.5
    return torch.from_numpy(shown).relu().float()


def windows(found: Tensor, side: int) -> Tensor:
    """Return all windows (g, n, i) of feature maps, padded with zeros."""
    return unfold(found[:, None], side, padding=side // 2).mT


def moments(rows: Tensor) -> Tensor:
    double = rows.double()
    return double.mT @ double


@given(seed=st.integers(0, 2**16), side=SIDE, channels=st.integers(1, 4))
def test_a_spectrum_is_the_power_of_each_cosine(seed: int, side: int, channels: int) -> None:
    rows = windows(maps(seed, channels, 9), side)
    form = Spectrum(side)
    kept = form.of_rows(rows.double())
    waves = dctn(rows.double().reshape(channels, -1, side, side).numpy(), axes=(2, 3), norm="ortho")
    powers = (waves**2).sum(1).reshape(channels, -1)
    np.testing.assert_allclose(np.sort(kept[:, : side**2].numpy()), np.sort(powers), atol=1e-9 * powers.max())
    directions = [(0, 0), (0, 2), (2, 0)]
    for place, (a, b) in enumerate(PAIRS):
        products = (waves[:, :, *directions[a]] * waves[:, :, *directions[b]]).sum(1)
        np.testing.assert_allclose(kept[:, side**2 + place].numpy(), products, atol=1e-9 * powers.max())


@given(seed=st.integers(0, 2**16), side=SIDE)
def test_rows_and_their_moments_have_the_same_spectrum(seed: int, side: int) -> None:
    rows = windows(maps(seed, 3, 8), side)
    form = Spectrum(side)
    whole = moments(rows)
    kept = form.of_moments(whole)
    scale = float(form.trace(kept).max())
    torch.testing.assert_close(form.of_rows(rows).double(), kept, rtol=0, atol=1e-5 * scale)
    torch.testing.assert_close(form.trace(kept), whole.diagonal(dim1=1, dim2=2).sum(1))
    # To keep what is kept changes nothing.
    again = form.of_moments(form.moments(kept))
    torch.testing.assert_close(again, kept, rtol=0, atol=1e-12 * scale)
    values = torch.linalg.eigvalsh(form.moments(kept))
    assert float(values.min()) >= -1e-12 * scale
    torch.testing.assert_close(form.diagonal(kept), form.moments(kept).diagonal(dim1=1, dim2=2))


@given(seed=st.integers(0, 2**16), width=st.integers(1, 12))
def test_a_triangle_keeps_everything(seed: int, width: int) -> None:
    rows = torch.randn(3, 20, width, generator=torch.Generator().manual_seed(seed))
    form = Triangle(width)
    whole = rows.mT @ rows
    kept = form.of_rows(rows)
    assert kept.shape[1] == form.entries
    torch.testing.assert_close(form.moments(kept).tril(), whole.tril(), rtol=0, atol=0)
    torch.testing.assert_close(form.diagonal(kept), whole.diagonal(dim1=1, dim2=2), rtol=0, atol=0)


def test_the_form_follows_from_the_window_and_from_the_number_of_entries() -> None:
    assert moment_form(9, 3) == Triangle(9)
    assert moment_form(49, 7) == Spectrum(7)
    assert moment_form(49, None) == Triangle(49)
    for form in (Triangle(9), Triangle(49), Triangle(50), Spectrum(5), Spectrum(7), Spectrum(11)):
        assert form_of(form.width, form.entries) == form
    with pytest.raises(ValueError, match="do not have 13 entries"):
        form_of(49, 13)
    with pytest.raises(ValueError, match="do not have 12 entries"):
        form_of(9, 12)


@pytest.mark.parametrize("pixels", [14, 28])
def test_a_spectrum_of_few_windows_is_nearer_to_all_windows_than_their_own_moments_are(pixels: int) -> None:
    found = maps(3, 24, pixels)
    rows = windows(found, 7)
    few = rows[:, torch.randperm(rows.shape[1], generator=torch.Generator().manual_seed(0))[:64]]
    shares = [space_of(rows, Triangle(49)), space_of(few, Triangle(49)), space_of(few, Spectrum(7))]
    target, plain, spectrum = (space.moments() for space in shares)

    def apart(other: Tensor) -> float:
        return float(torch.linalg.matrix_norm(other - target, ord=2, dim=(1, 2)).mean())

    assert apart(spectrum) < 0.9 * apart(plain)


def space_of(rows: Tensor, form: Triangle | Spectrum) -> GroupedSpace:
    accumulator = GroupedAccumulator(rows.shape[0], rows.shape[2], form)
    for part in torch.split(rows, 10, dim=1):
        accumulator.update(part)
    return accumulator.space()


def test_a_sum_of_spectra_is_decomposed_as_the_matrices_that_they_stand_for() -> None:
    spaces = [space_of(windows(maps(seed, 4, 9), 5), Spectrum(5)) for seed in range(3)]
    weights = grouped_retain_weights(spaces)
    factor = grouped_stack(spaces, weights).double()
    wanted = sum((w[:, None, None] * s.moments() for s, w in zip(spaces, weights, strict=True)), torch.zeros(4, 25, 25))
    torch.testing.assert_close(factor @ factor.mT, wanted.double(), rtol=0, atol=1e-6)


def test_rows_lying_with_their_groups_last_give_the_same() -> None:
    rows = windows(maps(1, 8, 9), 7)
    lying = rows.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert lying.stride(0) == 1
    for form in (Triangle(49), Spectrum(7)):
        plain, other = space_of(rows, form), space_of(lying, form)
        torch.testing.assert_close(plain.packed, other.packed, rtol=1e-5, atol=1e-6)
        assert plain.mean is not None
        assert other.mean is not None
        torch.testing.assert_close(plain.mean, other.mean, rtol=1e-5, atol=1e-6)


def test_a_whole_triangle_is_kept_as_a_spectrum_where_that_is_asked_for() -> None:
    rows = windows(maps(2, 3, 9), 5)
    whole = space_of(rows, Triangle(25))
    torch.testing.assert_close(whole.kept_in(Spectrum(5)).packed, space_of(rows, Spectrum(5)).packed, rtol=0, atol=1e-4)
    assert whole.kept_in(Triangle(25)) is whole


def test_coupled_directions_are_the_even_ones() -> None:
    constant = torch.ones(1, 1, 49)
    kept = Spectrum(7).of_rows(constant)
    assert math.isclose(float(kept[0, 0]), 49.0, rel_tol=1e-6)
    bowl = (torch.arange(7.0) - 3).square()
    bowl = (bowl - bowl.mean())[:, None].expand(7, 7)
    lit = Spectrum(7).of_rows((1 + bowl / 10).reshape(1, 1, 49))
    assert float(lit[0, COUPLED : 7**2].abs().max()) < 0.05 * float(lit[0, 1:3].max())
    assert float(lit[0, 49:].abs().max()) > 0
