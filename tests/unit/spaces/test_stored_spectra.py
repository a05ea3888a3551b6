"""Spectra in one byte a number."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.algebra.moment_forms import COUPLED, Spectrum
from ledger.spaces.stored_spectra import NOTHING, codes_of, entries_of

FORM = Spectrum(5)


def packed(seed: int, groups: int, rows: int) -> Tensor:
    """Return entries whose powers span many octaves, of mean diagonal 1."""
    generator = torch.Generator().manual_seed(seed)
    scale = 10 ** (-4 * torch.rand(groups, 1, 25, generator=generator))
    entries = FORM.of_rows(torch.randn(groups, rows, 25, generator=generator) * scale)
    return entries * 25 / FORM.trace(entries)[:, None]


@given(seed=st.integers(0, 2**16), groups=st.integers(1, 4), rows=st.integers(1, 30))
def test_powers_are_off_by_a_sixteenth_of_an_octave(seed: int, groups: int, rows: int) -> None:
    given_entries = packed(seed, groups, rows)
    codes, correlations = codes_of(FORM, given_entries)
    assert codes.dtype == torch.uint8
    assert correlations.dtype == torch.int8
    read = entries_of(codes, correlations)
    torch.testing.assert_close(FORM.trace(read), torch.full((groups,), 25.0))
    powers, back = given_entries[:, :25], read[:, :25]
    told_apart = powers > 25 * 2.0**-31
    # A sixteenth of an octave for the power itself, and as much because all are scaled to their old sum.
    assert float((back / powers).log2()[told_apart].abs().max()) <= 2 / 16 + 1e-3
    assert float(back[~told_apart].sum()) < 1e-6
    off = (FORM.coupled(read) - FORM.coupled(given_entries)).abs().amax((1, 2))
    assert bool((off <= 0.12 * FORM.coupled(given_entries).amax((1, 2))).all())


@given(seed=st.integers(0, 2**16), rows=st.integers(1, 4))
def test_what_is_read_is_positive_semi_definite_even_of_one_row(seed: int, rows: int) -> None:
    read = entries_of(*codes_of(FORM, packed(seed, 3, rows))).double()
    values = torch.linalg.eigvalsh(FORM.coupled(read))
    assert values.shape[1] == COUPLED
    assert float(values.min()) >= -1e-6 * float(values.max())


def test_groups_without_energy_stay_without() -> None:
    codes, correlations = codes_of(FORM, torch.zeros(2, FORM.entries))
    assert (codes == NOTHING).all()
    assert not correlations.any()
    assert not entries_of(codes, correlations).any()
