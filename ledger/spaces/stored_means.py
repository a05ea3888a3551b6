"""Mean rows in few bytes, beside the second moments that say how large they can be.

No mean exceeds the root mean square, of a whole row or of one of its inputs: ``|mean|^2 <= tr(G) / n`` and
``mean_j^2 <= G_jj / n``. Divided by it, a mean lies between -1 and 1 whatever the size of activations.
"""

import torch
from torch import Tensor

from ledger.algebra.grouped import GroupedSpace
from ledger.algebra.moment_forms import Spectrum
from ledger.algebra.spaces import Space

WIDE = 40
"""Inputs of a group from which its mean is stored in sixteen bits an entry. That is then below 5 % of the moments; in a
narrow group it would be up to a fifth, and eight bits are used. They are off by at most half of 127 steps, 0.4 % of an
input's root mean square; the mean of 512 rows is itself only known to some 4 % of their spread."""


def half_mean(space: Space, mean: Tensor) -> Tensor:
    """Return a single map's mean row in half precision (i,), divided by the root mean squared length of its rows."""
    return (mean.double() / (space.length or 1.0)).half()


def from_half(space: Space, stored: Tensor) -> Tensor:
    """Return the mean row, float32 (i,), that :func:`half_mean` made ``stored`` of."""
    return (stored.double() * space.length).float()


def steps_of_mean(space: GroupedSpace, mean: Tensor) -> Tensor:
    """Return a group's mean rows (g, i) in steps of which the largest that they could be has 127, or 32,767.

    Args:
        space: As it is stored: its moments are in half precision, or a spectrum.
        mean: (g, i).

    Returns:
        int8, or int16 from :data:`WIDE` inputs on and beside a spectrum.
    """
    wide = space.width >= WIDE or isinstance(space.form, Spectrum)
    kind = torch.int16 if wide else torch.int8
    steps = torch.iinfo(kind).max
    largest = _largest(space)
    share = torch.where(largest > 0, mean.double() / largest.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    return (steps * share).round().clamp(-steps, steps).to(kind)


def from_steps(space: GroupedSpace, stored: Tensor) -> Tensor:
    """Return the mean rows, float32 (g, i), that :func:`steps_of_mean` made ``stored`` of."""
    return (stored.double() / torch.iinfo(stored.dtype).max * _largest(space)).float()


def _largest(space: GroupedSpace) -> Tensor:
    """Return the root mean square of each input, float64 (g, i); of a spectrum, which is not exact, of rows (g, 1)."""
    shares = (
        torch.ones(space.groups, 1, dtype=torch.float64, device=space.packed.device)
        if isinstance(space.form, Spectrum)
        else space.form.diagonal(space.packed).double() / space.width
    )
    return (shares * space.trace[:, None] / max(1, space.rows)).clamp_min(0.0).sqrt()
