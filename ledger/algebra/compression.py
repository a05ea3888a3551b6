"""The leading part of many input rows: ``F`` (r, i) with ``F^T F`` below and close to ``X^T X``.

Whichever way ``F`` is found it is ``V^T X`` for orthonormal ``V`` (n, r), or its equal from the Gram matrix, so
``X^T X - F^T F`` is positive semi-definite: compressing never invents energy, and compressing again what
was compressed before adds the two errors at most.

Three forms, by cost (``docs/adr/0006-class-spaces.md``): few rows are decomposed through their (n, n) Gram
matrix, narrow ones through the (i, i) one, both exactly and in float64; what is large both ways by subspace
iteration (Halko, Martinsson, Tropp, arXiv 0909.4061, algorithm 4.4), which reads the rows four times and
forms no square matrix of either size.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .eigen import symmetric_eigen

EXACT = 288
"""Largest eigenproblem that is solved whole; 288 is a 3x3 convolution of 32 channels."""
OVERSAMPLING = 16
"""Directions tried beyond the rank; the first of them shows how much is cut off."""
PASSES = 1
"""Subspace iterations. With a spectrum that falls as activations' do, a second one gains a few per cent of the cut."""
ROWS_AT_ONCE = 64
"""Rows that are turned to float64 together."""
CAUTION = 3.0
"""A Ritz value approaches its eigenvalue from below; the reported cut is this multiple of it."""


@dataclass(frozen=True)
class Compressed:
    """The leading directions of some rows."""

    factor: Tensor
    """float32 (r, i), rows in falling order of energy."""
    cut: float
    """Upper estimate of the spectral norm of ``X^T X - F^T F``, at most the trace that was cut, which is a bound."""


def compress(rows: Tensor, rank: int) -> Compressed:
    """Return the ``rank`` leading directions of rows, fewer where there are no more.

    Deterministic: the start of the iteration depends on the shape alone.

    Args:
        rows: ``X``, float32 (n, i), finite.
        rank: Largest number of directions.
    """
    n, width = rows.shape
    if min(n, width) <= EXACT or min(n, width) <= rank + OVERSAMPLING:
        values, factor = _exact(rows, rank)
    else:
        values, factor = _iterated(rows, rank + OVERSAMPLING)
    # Eigenvalues below rounding of the largest are noise.
    noise = float(values[0].clamp_min(0)) * max(n, width) * torch.finfo(torch.float64).eps if len(values) else 0.0
    kept = min(rank, int((values > noise).sum()))
    beyond = float(values[kept].clamp_min(0)) if kept < len(values) else 0.0
    exact = len(values) == min(n, width)
    cut = beyond if exact else min(CAUTION * beyond, max(0.0, energy(rows) - float(values[:kept].sum())))
    return Compressed(factor[:kept].contiguous(), cut)


def energy(rows: Tensor) -> float:
    """Return the trace of ``X^T X`` of rows (n, i), in float64.

    A few rows at a time, so that their copies stay in the processor's cache: a third of the time of all at once.
    """
    doubles = (part.double().flatten() for part in torch.split(rows, ROWS_AT_ONCE))
    return float(torch.stack([double.dot(double) for double in doubles]).sum())


def truncate(factor: Tensor, floor: float) -> Compressed:
    """Return what is left of a compressed factor (r, i) without the directions of energies at or below ``floor``.

    Its rows are orthogonal already, so nothing need be decomposed again.
    """
    energies = factor.double().square().sum(1)
    kept = energies > floor
    left_out = energies[~kept]
    return Compressed(factor[kept], float(left_out.amax()) if len(left_out) else 0.0)


def compress_gram(gram: Tensor, rank: int, *, floor: float = 0.0) -> Compressed:
    """Return the leading directions of rows of which only ``X^T X`` (i, i), in float64, was kept."""
    values, vectors = symmetric_eigen(gram)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    kept = min(rank, int((values > max(floor, float(values[0]) * len(values) * torch.finfo(gram.dtype).eps)).sum()))
    factor = (vectors[:, :kept] * values[:kept].sqrt()).T.float().contiguous()
    return Compressed(factor, float(values[kept]) if kept < len(values) else 0.0)


def compress_moments(moments: Tensor, rank: int) -> Compressed:
    """Return leading directions of rows of which only ``X^T X`` (i, i), float32, was kept, however wide they are.

    Where an eigenproblem of that width would cost too much, by subspace iteration on the matrix, and then
    ``F = D^-1/2 U^T B^T X^T X`` for the orthonormal basis ``B`` that it finds and ``B^T X^T X B = U D U^T``
    (Nystroem's form): that stays below ``X^T X`` as everything here does.
    """
    width = moments.shape[0]
    if width <= EXACT or width <= rank + OVERSAMPLING:
        return compress_gram(moments.double(), rank)
    basis = _orthonormal(moments @ _start(width, rank + OVERSAMPLING, rank).to(moments.device))
    for _ in range(PASSES):
        basis = _orthonormal(moments @ basis)
    seen = moments @ basis
    values, vectors = symmetric_eigen((basis.T @ seen).double())
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    # What float32 cannot tell from zero would only be noise divided by nearly nothing.
    kept = min(rank, int((values > float(values[0]) * width * torch.finfo(moments.dtype).eps).sum()))
    factor = ((vectors[:, :kept] / values[:kept].sqrt()).T @ seen.T.double()).float()
    left = float(moments.diagonal().sum()) - float(factor.square().sum())
    return Compressed(factor.contiguous(), min(CAUTION * float(values[kept]), max(0.0, left)))


def _exact(rows: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return all eigenvalues of ``X^T X`` in falling order, float64, and ``F`` with a row for the first ``rank``."""
    double = rows.double()
    if rows.shape[0] <= rows.shape[1]:
        values, vectors = symmetric_eigen(double @ double.T)
        return values.flip(0), (vectors.flip(1)[:, :rank].T @ double).float()
    values, vectors = symmetric_eigen(double.T @ double)
    values = values.flip(0).clamp_min(0)
    return values, (vectors.flip(1) * values.sqrt())[:, :rank].T.float()


def _iterated(rows: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the leading ``size`` Ritz values, float64, and ``F`` with a row for each."""
    basis = _orthonormal(rows @ _start(rows.shape[1], size, size).to(rows.device))
    for _ in range(PASSES):
        basis = _orthonormal(rows @ (rows.T @ basis))
    inside = basis.T @ rows
    inside_double = inside.double()
    values, vectors = symmetric_eigen(inside_double @ inside_double.T)
    return values.flip(0), vectors.flip(1).T.float() @ inside


@lru_cache(maxsize=8)
def _start(width: int, size: int, seed: int) -> Tensor:
    """Return directions (i, r) to start from: those of the processor's generator on every device.

    A network has a handful of widths, and hundreds of classes start in each.
    """
    return torch.randn(width, size, generator=torch.Generator().manual_seed(seed))


def _orthonormal(columns: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(columns)[0]
    return basis
