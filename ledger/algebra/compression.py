"""The leading part of many input rows: ``F`` (r, i) with ``F^T F`` below and close to ``X^T X``.

In every method ``F`` equals ``V^T X`` for an orthonormal ``V`` (n, r). So ``X^T X - F^T F`` is positive semi-definite:
compression never adds energy, and when a compressed factor is compressed again, the two errors at most add up.

There are three methods, chosen by cost (``docs/adr/0006-class-spaces.md``). Few rows are decomposed through their (n,
n) Gram matrix, narrow rows through the (i, i) one, both exactly and in float64. Rows that are many and wide are
decomposed by subspace iteration (Halko, Martinsson, Tropp, arXiv 0909.4061, algorithm 4.4), which reads the rows four
times and forms neither square matrix.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .eigen import symmetric_eigen

LARGEST_EXACT_SIZE = 288
"""Rows of the largest matrix that is decomposed exactly; 288 inputs has a 3x3 convolution of 32 channels."""
OVERSAMPLING = 16
"""Directions computed beyond the rank. The first of them shows how much is cut off."""
SUBSPACE_ITERATIONS = 1
"""Number of subspace iterations. With the spectrum of activations, a second one reduces the cut by a few per cent."""
ROWS_AT_ONCE = 64
"""Rows that are converted to float64 together."""
CUT_SAFETY_FACTOR = 3.0
"""The reported cut is the first Ritz value that was cut off times this: Ritz values are below the eigenvalues."""


@dataclass(frozen=True)
class Compressed:
    """The leading directions of some rows."""

    factor: Tensor
    """float32 (r, i), rows in falling order of energy."""
    cut: float
    """Upper estimate of the spectral norm of ``X^T X - F^T F``; never above the trace that was cut off."""


def compress(rows: Tensor, rank: int) -> Compressed:
    """Return the leading directions of rows, at most ``rank``.

    Deterministic: the iteration starts from directions that depend on the shape alone.

    Args:
        rows: ``X``, float32 (n, i), finite.
        rank: Largest number of directions.
    """
    n, width = rows.shape
    if min(n, width) <= LARGEST_EXACT_SIZE or min(n, width) <= rank + OVERSAMPLING:
        values, factor = _exact(rows, rank)
    else:
        values, factor = _iterated(rows, rank + OVERSAMPLING)
    # Eigenvalues below rounding of the largest are noise.
    noise = float(values[0].clamp_min(0)) * max(n, width) * torch.finfo(torch.float64).eps if len(values) else 0.0
    kept = min(rank, int((values > noise).sum()))
    beyond = float(values[kept].clamp_min(0)) if kept < len(values) else 0.0
    exact = len(values) == min(n, width)
    cut = beyond if exact else min(CUT_SAFETY_FACTOR * beyond, max(0.0, energy(rows) - float(values[:kept].sum())))
    return Compressed(factor[:kept].contiguous(), cut)


def energy(rows: Tensor) -> float:
    """Return the trace of ``X^T X`` of rows (n, i), in float64.

    Converts a few rows at a time, so that the copies stay in the processor's cache: that takes a third of the time.
    """
    doubles = (part.double().flatten() for part in torch.split(rows, ROWS_AT_ONCE))
    return float(torch.stack([double.dot(double) for double in doubles]).sum())


def truncate(factor: Tensor, floor: float) -> Compressed:
    """Drop the directions of a compressed factor (r, i) whose energy is at or below ``floor``.

    The rows of the factor are orthogonal, so no decomposition is needed.
    """
    energies = factor.double().square().sum(1)
    kept = energies > floor
    left_out = energies[~kept]
    return Compressed(factor[kept], float(left_out.amax()) if len(left_out) else 0.0)


def compress_gram(gram: Tensor, rank: int, *, floor: float = 0.0) -> Compressed:
    """Return the leading directions of rows ``X``, given only their Gram matrix.

    Args:
        gram: ``X^T X``, float64 (i, i).
        rank: Largest number of directions.
        floor: Directions with an energy at or below this are dropped.
    """
    values, vectors = symmetric_eigen(gram)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    kept = min(rank, int((values > max(floor, float(values[0]) * len(values) * torch.finfo(gram.dtype).eps)).sum()))
    factor = (vectors[:, :kept] * values[:kept].sqrt()).T.float().contiguous()
    return Compressed(factor, float(values[kept]) if kept < len(values) else 0.0)


def compress_moments(moments: Tensor, rank: int) -> Compressed:
    """Return the leading directions of rows ``X`` of any width, given only their Gram matrix.

    Wide matrices are decomposed by subspace iteration. With the orthonormal basis ``B`` that it finds, and
    ``B^T X^T X B = U D U^T``, the factor is ``F = D^-1/2 U^T B^T X^T X`` (Nystroem's form), and ``F^T F`` stays below
    ``X^T X`` as in the other methods.

    Args:
        moments: ``X^T X``, float32 (i, i).
        rank: Largest number of directions.
    """
    width = moments.shape[0]
    if width <= LARGEST_EXACT_SIZE or width <= rank + OVERSAMPLING:
        return compress_gram(moments.double(), rank)
    basis = _orthonormal(moments @ _start(width, rank + OVERSAMPLING, rank).to(moments.device))
    for _ in range(SUBSPACE_ITERATIONS):
        basis = _orthonormal(moments @ basis)
    seen = moments @ basis
    values, vectors = symmetric_eigen((basis.T @ seen).double())
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    # Values that float32 cannot tell from zero are noise, and would be divided by nearly zero.
    kept = min(rank, int((values > float(values[0]) * width * torch.finfo(moments.dtype).eps).sum()))
    factor = ((vectors[:, :kept] / values[:kept].sqrt()).T @ seen.T.double()).float()
    left = float(moments.diagonal().sum()) - float(factor.square().sum())
    return Compressed(factor.contiguous(), min(CUT_SAFETY_FACTOR * float(values[kept]), max(0.0, left)))


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
    for _ in range(SUBSPACE_ITERATIONS):
        basis = _orthonormal(rows @ (rows.T @ basis))
    inside = basis.T @ rows
    inside_double = inside.double()
    values, vectors = symmetric_eigen(inside_double @ inside_double.T)
    return values.flip(0), vectors.flip(1).T.float() @ inside


@lru_cache(maxsize=8)
def _start(width: int, size: int, seed: int) -> Tensor:
    """Return random directions (i, r) to start from, the same on every device.

    They are cached: a network has only a few widths, and every class starts from the same directions.
    """
    return torch.randn(width, size, generator=torch.Generator().manual_seed(seed))


def _orthonormal(columns: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(columns)[0]
    return basis
