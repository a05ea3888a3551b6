"""Which entries are kept of the second moments of many narrow maps: a whole triangle, or a spectrum.

Both are linear in the moments, so classes add up entry by entry, and both keep positive semi-definite matrices so.

A depthwise convolution of ``k x k`` pixels reads windows of one channel. Feature maps look much alike wherever a window
is placed, so the moments of a window are close to diagonal in the cosine basis (Ahmed, Natarajan, Rao, "Discrete cosine
transform", 1974). What is not comes from the padding, which darkens opposite edges alike: it couples the window's mean
with its second harmonics. A spectrum keeps the diagonal and these couplings, ``k^2 + 3`` numbers in place of ``k^2 (k^2
+ 1) / 2``, and drops the rest: with 64 positions of an image it is nearer to the moments of all its positions than the
whole triangle of those 64 is (``docs/adr/0023-spectra-of-windows.md``).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

SMALLEST_SPECTRUM = 5
"""Side of the smallest window of which a spectrum is kept. Of 3x3 pixels, a triangle has 45 numbers."""
COUPLED = 3
"""Directions of a spectrum whose products are kept: the window's mean, and the second harmonic along each axis."""
PAIRS = ((1, 0), (2, 0), (2, 1))
"""Row and column of the couplings."""


class MomentForm(Protocol):
    """Which linear functions of the second moments ``G`` (g, i, i) of groups are kept, ``m`` of them."""

    @property
    def width(self) -> int:
        """Number of inputs ``i``."""
        ...

    @property
    def entries(self) -> int:
        """Number of kept entries ``m``."""
        ...

    def of_rows(self, rows: Tensor) -> Tensor:
        """Return the entries (g, m) of ``sum x x^T`` over rows (g, n, i), in the rows' precision."""
        ...

    def of_moments(self, moments: Tensor) -> Tensor:
        """Return the entries (g, m) of moments (g, i, i)."""
        ...

    def moments(self, packed: Tensor) -> Tensor:
        """Return symmetric matrices (g, i, i) with these entries (g, m)."""
        ...

    def trace(self, packed: Tensor) -> Tensor:
        """Return the traces (g,) of the matrices with these entries (g, m)."""
        ...

    def diagonal(self, packed: Tensor) -> Tensor:
        """Return the diagonals (g, i) of the matrices with these entries (g, m)."""
        ...


@dataclass(frozen=True)
class Triangle:
    """All of it: the lower triangle, row by row."""

    width: int

    @property
    def entries(self) -> int:
        """Number of kept entries."""
        return self.width * (self.width + 1) // 2

    def of_rows(self, rows: Tensor) -> Tensor:
        """Return the entries (g, m) of ``sum x x^T`` over rows (g, n, i)."""
        return self.of_moments(rows.mT @ rows)

    def of_moments(self, moments: Tensor) -> Tensor:
        """Return the entries (g, m) of moments (g, i, i), of which only the lower triangles are read."""
        row, column = torch.tril_indices(self.width, self.width, device=moments.device)
        return moments.flatten(1).index_select(1, row * self.width + column)

    def moments(self, packed: Tensor) -> Tensor:
        """Return symmetric matrices (g, i, i) with these entries (g, m)."""
        row, column = torch.tril_indices(self.width, self.width, device=packed.device)
        full = packed.new_empty(packed.shape[0], self.width, self.width)
        full[:, row, column] = packed
        full[:, column, row] = packed
        return full

    def trace(self, packed: Tensor) -> Tensor:
        """Return the traces (g,)."""
        return self.diagonal(packed).sum(1)

    def diagonal(self, packed: Tensor) -> Tensor:
        """Return the diagonals (g, i)."""
        place = torch.arange(self.width, device=packed.device)
        return packed[:, place * (place + 3) // 2]


@dataclass(frozen=True)
class Spectrum:
    """Of windows of ``side x side`` pixels: the diagonal in the cosine basis, then the couplings :data:`PAIRS`."""

    side: int

    @property
    def width(self) -> int:
        """Number of inputs."""
        return self.side**2

    @property
    def entries(self) -> int:
        """Number of kept entries."""
        return self.width + len(PAIRS)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Return the entries (g, m) of ``sum x x^T`` over rows (g, n, i)."""
        # Groups last: that is how a depthwise convolution's rows lie in memory, and no product is of tiny matrices.
        parts = torch.matmul(_basis(self.side, rows.dtype, rows.device).T, rows.permute(1, 2, 0))
        squares = parts.square().sum(0)
        products = [(parts[:, a] * parts[:, b]).sum(0) for a, b in PAIRS]
        return torch.cat([squares, torch.stack(products)]).T

    def of_moments(self, moments: Tensor) -> Tensor:
        """Return the entries (g, m) of moments (g, i, i)."""
        basis = _basis(self.side, moments.dtype, moments.device)
        turned = basis.T @ moments @ basis
        couplings = torch.stack([turned[:, a, b] for a, b in PAIRS], dim=1)
        return torch.cat([turned.diagonal(dim1=1, dim2=2), couplings], dim=1)

    def moments(self, packed: Tensor) -> Tensor:
        """Return symmetric matrices (g, i, i) with these entries (g, m), and zero where nothing is kept."""
        basis = _basis(self.side, packed.dtype, packed.device)
        leading = basis[:, :COUPLED] @ self.coupled(packed) @ basis[:, :COUPLED].T
        rest: Tensor = (basis[:, COUPLED:] * packed[:, None, COUPLED : self.width]) @ basis[:, COUPLED:].T
        # Symmetric to the last bit, as a matrix that is decomposed should be.
        return (leading + rest + (leading + rest).mT) / 2

    def coupled(self, packed: Tensor) -> Tensor:
        """Return the moments of the coupled directions, (g, 3, 3)."""
        block = torch.diag_embed(packed[:, :COUPLED])
        for place, (a, b) in enumerate(PAIRS):
            block[:, a, b] = block[:, b, a] = packed[:, self.width + place]
        return block

    def trace(self, packed: Tensor) -> Tensor:
        """Return the traces (g,)."""
        return packed[:, : self.width].sum(1)

    def diagonal(self, packed: Tensor) -> Tensor:
        """Return the diagonals (g, i), of the pixels."""
        return self.moments(packed).diagonal(dim1=1, dim2=2)


def moment_form(width: int, window: int | None) -> MomentForm:
    """Return what is kept of the moments of groups.

    Args:
        width: Number of inputs of each.
        window: Side of the square window of one channel that the inputs are; None if they are something else.
    """
    return Triangle(width) if window is None or window < SMALLEST_SPECTRUM else Spectrum(window)


def form_of(width: int, entries: int) -> MomentForm:
    """Return the form whose moments of so many inputs have so many entries.

    Raises:
        ValueError: There is none.
    """
    forms: list[MomentForm] = [Triangle(width)]
    side = math.isqrt(width)
    if side >= SMALLEST_SPECTRUM and side**2 == width:
        forms.append(Spectrum(side))
    for form in forms:
        if form.entries == entries:
            return form
    raise ValueError(f"moments of {width} inputs do not have {entries} entries")


@lru_cache(maxsize=16)
def _basis(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the cosine basis of a window, orthonormal (i, i): the coupled directions first, then by frequency."""
    place, frequency = torch.arange(side, dtype=torch.float64), torch.arange(side, dtype=torch.float64)
    waves = torch.cos(math.pi * (2 * place[:, None] + 1) * frequency / (2 * side))
    waves /= waves.norm(dim=0)
    both = torch.einsum("au,bv->abuv", waves, waves).reshape(side**2, side**2)
    coupled = [(0, 0), (0, 2), (2, 0)]
    others = [(u, v) for u in range(side) for v in range(side) if (u, v) not in coupled]
    order = [u * side + v for u, v in coupled + sorted(others, key=lambda pair: (sum(pair), pair))]
    return both[:, order].to(device, dtype)
