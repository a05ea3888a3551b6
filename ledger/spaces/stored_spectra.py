"""Spectra of windows in one byte a number.

A power is stored as its distance from the largest possible, in eighths of an octave: it is off by at most 4.4 %, and
32 octaves, nearly ten decimal places, can be told apart; what is less counts as nothing. Couplings are stored as
correlations, which keeps the coupled directions positive semi-definite whatever powers are rounded to.
"""

import torch
from torch import Tensor

from ledger.algebra.moment_forms import PAIRS, Spectrum

PER_OCTAVE = 8
"""Steps of a power."""
NOTHING = 255
"""The code of no power."""
STEPS = 127
"""Steps of a correlation."""


def codes_of(form: Spectrum, packed: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is stored of a spectrum.

    Args:
        form: The spectrum's.
        packed: Its entries (g, m), of mean diagonal 1 or zero.

    Returns:
        Codes of the powers, uint8 (g, i), and correlations, int8 (g, 3).
    """
    powers = packed[:, : form.width].double()
    codes = (-PER_OCTAVE * (powers / form.width).clamp_min(0).log2()).round().clamp(0, NOTHING).to(torch.uint8)
    products = packed[:, form.width :].double()
    sizes = torch.stack([powers[:, a] * powers[:, b] for a, b in PAIRS], dim=1).clamp_min(0).sqrt()
    correlations = torch.where(sizes > 0, products / sizes.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    # Rounding moves the correlations of three directions by up to 1 / STEPS in norm. Drawn together as much before,
    # they stay positive semi-definite.
    return codes, ((STEPS - 1) * correlations).round().clamp(-STEPS, STEPS).to(torch.int8)


def entries_of(codes: Tensor, correlations: Tensor) -> Tensor:
    """Return the entries, float32 (g, m) and of mean diagonal 1 or zero, that :func:`codes_of` made the codes of."""
    powers = torch.where(codes < NOTHING, torch.exp2(codes.double() / -PER_OCTAVE), 0.0)
    total = powers.sum(1, keepdim=True)
    powers *= torch.where(total > 0, codes.shape[1] / total.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    sizes = torch.stack([powers[:, a] * powers[:, b] for a, b in PAIRS], dim=1).sqrt()
    return torch.cat([powers, correlations.double() / STEPS * sizes], dim=1).float()
