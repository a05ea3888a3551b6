"""The edit of one weight matrix: ``W <- W - W (I - P_r) P_f``.

Source: Kodge, Saha, Roy, arXiv 2312.00761, section 4, equations for importance scaling and weight
update. With ``C = F F^T`` the scaled projection has the closed form
``P = alpha F ((alpha - 1) F^T F + I)^-1 F^T``, equal to ``U diag(lambda) U^T`` with
``lambda = alpha s / ((alpha - 1) s + 1)``: one Cholesky factorisation of an (r, r) matrix and no
(i, i) matrix at all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, order=True)
class Strength:
    """How strongly the retain space is protected and the forget space removed."""

    alpha_r: float
    alpha_f: float
    classes: int = 1
    """Number of forgotten classes. The forget space is their mean, so each direction's share
    shrinks with their number; multiplying ``alpha_f`` by it gives the share back."""

    @property
    def effective_alpha_f(self) -> float:
        """The forget alpha that is applied to the mean of the forgotten classes' spaces."""
        return self.alpha_f * self.classes


def importance(gram: Tensor, alpha: float) -> Tensor:
    """Return ``A`` (r, r) such that the scaled projection is ``F A F^T``.

    Args:
        gram: ``F^T F`` in float64, shape (r, r).
        alpha: Importance scale, at least 1. At 1 the result is the identity (``P = C``).
    """
    identity = torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
    cholesky = torch.linalg.cholesky((alpha - 1.0) * gram + identity)
    inverse: Tensor = torch.cholesky_inverse(cholesky)
    return alpha * inverse


class ProjectionFactors:
    """Everything about one linear map that does not depend on the alphas.

    Args:
        weight: ``W``, shape (o, i).
        retain: Factor of the retain space, shape (i, r_r).
        forget: Factor of the forget space, shape (i, r_f).
    """

    def __init__(self, weight: Tensor, retain: Tensor, forget: Tensor) -> None:
        self.forget = forget
        self._retain_gram = (retain.T @ retain).double()
        self._forget_gram = (forget.T @ forget).double()
        self._weight_retain = weight @ retain
        self._weight_forget = weight @ forget
        self._cross = retain.T @ forget
        self._alpha_r = 0.0
        self._retain_importance = self._cross

    def delta(self, strength: Strength) -> Tensor:
        """Return ``-W (I - P_r) P_f``, shape (o, i), in the weight's dtype."""
        if strength.alpha_r != self._alpha_r:
            # Only the last one is kept: a grid is walked alpha_r by alpha_r, and each is an (r, r) matrix.
            self._retain_importance = importance(self._retain_gram, strength.alpha_r).to(self._cross.dtype)
            self._alpha_r = strength.alpha_r
        a_f = importance(self._forget_gram, strength.effective_alpha_f).to(self._cross.dtype)
        removed = self._weight_forget - self._weight_retain @ (self._retain_importance @ self._cross)
        return -(removed @ a_f) @ self.forget.T
