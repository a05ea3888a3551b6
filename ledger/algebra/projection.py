"""The paper's edit of one weight matrix: ``W <- W - W (I - P_r) P_f``.

Source: Kodge, Saha, Roy, arXiv 2312.00761, section 4, equations for importance scaling and weight
update. With ``C = F F^T`` the scaled projection has the closed form
``P = alpha F ((alpha - 1) F^T F + I)^-1 F^T``, equal to ``U diag(lambda) U^T`` with
``lambda = alpha s / ((alpha - 1) s + 1)``: one Cholesky factorisation of an (r, r) matrix and no
(i, i) matrix at all.
"""

import torch
from torch import Tensor

from .map_factors import MapFactors, shifted_cholesky
from .strength import Strength


def projection_delta(factors: MapFactors, strength: Strength) -> Tensor:
    """Return ``-W (I - P_r) P_f``, float32 (o, i), or (g, o, i) of a group of maps.

    Args:
        factors: The map and its spaces.
        strength: Both alphas at least 1; at 1 a space is projected on unscaled (``P = C``).
    """
    dtype = factors.weight.dtype
    protected = strength.alpha_r * factors.resolved_cross(strength.alpha_r - 1.0)
    removed = factors.weight_forget - factors.weight_retain @ protected.to(dtype)
    alpha_f = strength.effective_alpha_f
    scaled = alpha_f * torch.cholesky_inverse(shifted_cholesky(factors.forget_gram, alpha_f - 1.0))
    return -(removed @ scaled.to(dtype)) @ factors.forget.mT
