"""The products of one linear map and its two spaces that all strengths share.

Every shape may have a leading dimension ``g``: maps of one shape, such as the groups of a convolution, are computed
together.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from .displacement import Displacement
from .eigen import symmetric_eigen
from .summed_moments import SummedMoments


class MapFactors:
    """A weight, a retain space ``C_R = F_R F_R^T`` and a forget space ``C_F = F_F F_F^T``, and their products.

    Each product is formed when a solver first asks for it. None is an (i, i) matrix, except where
    the retain space is kept as one.

    Args:
        weight: ``W``, float32 (o, i).
        retain: ``F_R``, float32 (i, r_r); or ``C_R`` of very many classes, whose factor is formed if it is asked for.
        forget: ``F_F``, float32 (i, r_f).
        own_outputs: Indices of the outputs that belong to forgotten classes, for the classifier; None for other maps.
        displacement: How far forgotten classes lie from the retained ones they resemble; None where it is not known.
    """

    def __init__(
        self,
        weight: Tensor,
        retain: Tensor | SummedMoments,
        forget: Tensor,
        own_outputs: Sequence[int] | None = None,
        displacement: Displacement | None = None,
    ) -> None:
        self.displacement = displacement
        self.own_outputs = own_outputs
        self.weight = weight
        self._retain = retain
        self.forget = forget
        self._resolved: tuple[float, Tensor] | None = None
        self._unprotected: tuple[float, Tensor, Tensor, Tensor] | None = None
        self._protection: tuple[float, Tensor] | None = None
        self._protected_columns: tuple[float, Tensor] | None = None

    def one(self, index: int) -> "MapFactors":
        """Return the factors of one map of several."""
        known = self.displacement
        one = None if known is None else Displacement(known.columns[index], known.weights, known.retained[index])
        retain = self._retain.one(index) if isinstance(self._retain, SummedMoments) else self._retain[index]
        return MapFactors(self.weight[index], retain, self.forget[index], displacement=one)

    @property
    def retain(self) -> Tensor:
        """``F_R``, float32 (i, r_r)."""
        return self._retain.factor if isinstance(self._retain, SummedMoments) else self._retain

    @property
    def retain_rank(self) -> int:
        """Number of directions that the retain space may hold: columns of its factor, or inputs if it is a matrix."""
        return self._retain.width if isinstance(self._retain, SummedMoments) else self._retain.shape[-1]

    @cached_property
    def weight_retain(self) -> Tensor:
        """``W F_R``, float32 (o, r_r)."""
        return self.weight @ self.retain

    @cached_property
    def weight_forget(self) -> Tensor:
        """``W F_F``, float32 (o, r_f)."""
        return self.weight @ self.forget

    @cached_property
    def retain_gram(self) -> Tensor:
        """``F_R^T F_R``, float32 (r_r, r_r)."""
        return self.retain.mT @ self.retain

    @cached_property
    def forget_gram(self) -> Tensor:
        """``F_F^T F_F``, float32 (r_f, r_f)."""
        return self.forget.mT @ self.forget

    @cached_property
    def cross(self) -> Tensor:
        """``F_R^T F_F``, float64 (r_r, r_f)."""
        return (self.retain.mT @ self.forget).double()

    def resolved_cross(self, scale: float) -> Tensor:
        """Return ``(scale F_R^T F_R + I)^-1 F_R^T F_F``, float64 (r_r, r_f), by one Cholesky factorisation.

        Only the last result is kept, since a grid is searched one ``alpha_r`` after the other.
        """
        if self._resolved is None or self._resolved[0] != scale:
            self._resolved = scale, torch.cholesky_solve(self.cross, shifted_cholesky(self.retain_gram, scale))
        return self._resolved[1]

    def unprotected(self, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return what protecting the retain space, ``A = scale C_R + I``, leaves of the forget space.

        Returns:
            ``A^-1 F_F``, float32 (i, r_f), and the eigenvalues and eigenvectors of ``F_F^T A^-1 F_F`` (r_f, r_f) in
            float64. Only the last result is kept, as above.
        """
        if self._unprotected is None or self._unprotected[0] != scale:
            resolved = scale * self.resolved_cross(scale)
            left = self.forget - self.retain @ resolved.to(self.weight.dtype)
            inner = self.forget_gram - self.cross.mT @ resolved
            # Exactly symmetric and positive semi-definite in theory; rounding may take a little of both.
            values, vectors = symmetric_eigen((inner + inner.mT) / 2)
            self._unprotected = scale, left, values.clamp_min(0.0), vectors
        return self._unprotected[1:]

    def protected(self, rows: Tensor, alpha_r: float) -> Tensor:
        """Return ``(C_R + I / (alpha_r i))^-1 X``, float64 (i, m): what of some columns the retain space leaves free.

        Args:
            rows: ``X``, float64 (i, m).
            alpha_r: Greater than 0: the energy of the retain space, in units of what an unused direction weighs.
        """
        if isinstance(self._retain, SummedMoments):
            return self._solved(self._retain, rows, alpha_r)
        width = self.retain.shape[-2]
        scale = alpha_r * width
        if self._protection is None or self._protection[0] != scale:
            factor = self.retain.double()
            self._protection = scale, shifted_cholesky(factor.mT @ factor, scale)
        retain = self.retain.double()
        inside = torch.cholesky_solve(retain.mT @ rows, self._protection[1])
        return scale * (rows - scale * (retain @ inside))

    def _solved(self, retain: SummedMoments, rows: Tensor, alpha_r: float) -> Tensor:
        ridge = 1.0 / (alpha_r * retain.width)
        if self.own_outputs is None:
            return retain.solve(rows, ridge)
        # The classifier is asked again by every strength.
        if self._protection is None or self._protection[0] != ridge:
            self._protection = ridge, retain.cholesky(ridge)
        return torch.cholesky_solve(rows, self._protection[1])

    def protected_columns(self, alpha_r: float) -> Tensor:
        """Return :meth:`protected` of the displacement's columns, float64 (i, m); only the last result is kept.

        Raises:
            ValueError: There is no displacement.
        """
        if self.displacement is None:
            raise ValueError("there is no displacement")
        if self._protected_columns is None or self._protected_columns[0] != alpha_r:
            self._protected_columns = alpha_r, self.protected(self.displacement.columns.double(), alpha_r)
        return self._protected_columns[1]


def shifted_cholesky(gram: Tensor, scale: float) -> Tensor:
    """Return the Cholesky factor, float64, of ``scale * gram + I`` for a positive semi-definite ``gram``."""
    shifted = scale * gram.double()
    shifted.diagonal(dim1=-2, dim2=-1).add_(1.0)
    factor: Tensor = torch.linalg.cholesky(shifted)
    return factor
