"""Dense matrices and untruncated spaces, to compare the edits with their definitions."""

import torch
from torch import Tensor

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.spaces import Space


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers in float64 that depend on the seed alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def directions(width: int, count: int, seed: int = 0) -> Tensor:
    """Return orthonormal columns (width, count)."""
    basis: Tensor = torch.linalg.qr(normal(width, width, seed=seed))[0]
    return basis[:, :count]


def factor_of(rows: Tensor) -> Tensor:
    """Return one of the many ``F`` with ``F F^T = X^T X / tr``: the rows themselves, as columns."""
    factor: Tensor = rows.T / rows.norm()
    return factor


def untruncated_space(rows: Tensor) -> Space:
    """Return the space of rows (n, i), accumulated in one batch at full rank."""
    accumulator = CovarianceAccumulator(rows.shape[1], max_rank=rows.shape[1])
    accumulator.update(rows)
    return accumulator.space()
