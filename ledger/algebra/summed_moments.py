"""A retain space that is kept as a second moment, because it is a sum over more classes than a factor has columns for.

Solvers that only solve with it, as :mod:`~ledger.algebra.redirect` does, need one Cholesky factorisation and no
decomposition. For others a factor is formed when it is first asked for.
"""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from .compression import compress_moments
from .eigen import symmetric_eigen
from .spaces import LARGEST_STACK


class SummedMoments:
    """``C`` of one map (i, i), or of all groups of a layer (g, i, i).

    Args:
        width: Number of inputs ``i``.
        lower: Forms the matrix, float64, of trace 1 or less; only what it holds on and below the diagonal counts. It is
            asked each time: a network's matrices together are large.
        groups: Number of groups ``g``; None for a single map.
    """

    def __init__(self, width: int, lower: Callable[[], Tensor], groups: int | None = None) -> None:
        self.width = width
        self.groups = groups
        self._lower = lower

    def matrix(self) -> Tensor:
        """Return ``C``, float64 (i, i) or (g, i, i)."""
        lower = self._lower()
        return lower.tril() + lower.tril(-1).mT

    def one(self, index: int) -> "SummedMoments":
        """Return the matrix of one group."""
        return SummedMoments(self.width, lambda: self._lower()[index])

    @cached_property
    def factor(self) -> Tensor:
        """``F`` with ``F F^T`` close to and below ``C``, float32 (i, r) or (g, i, i); r at most ``LARGEST_STACK``."""
        if self.groups is None:
            return compress_moments(self.matrix().float(), LARGEST_STACK).factor.T.contiguous()
        values, vectors = symmetric_eigen(self.matrix())
        factors: Tensor = vectors.flip(2) * values.flip(1).clamp_min(0.0).sqrt()[:, None]
        return factors.float()

    def solve(self, rows: Tensor, ridge: float) -> Tensor:
        """Return ``(C + ridge I)^-1 X``, float64, for columns ``X`` (i, m) or (g, i, m)."""
        return torch.cholesky_solve(rows, self.cholesky(ridge))

    def cholesky(self, ridge: float) -> Tensor:
        """Return the Cholesky factor of ``C + ridge I``, float64."""
        # The factorisation reads nothing above the diagonal.
        shifted = self._lower()
        shifted.diagonal(dim1=-2, dim2=-1).add_(ridge)
        factor: Tensor = torch.linalg.cholesky(shifted)
        return factor
