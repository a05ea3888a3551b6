"""Least squares: weights whose outputs stay the same on the retain space and vanish on the forget space.

``W' = argmin  alpha_r tr((W' - W) C_R (W' - W)^T) + alpha_f tr(W' C_F W'^T) + |W' - W|^2``, so

    W' = W (alpha_r C_R + I) (alpha_r C_R + alpha_f C_F + I)^-1.

In the classifier only the outputs of forgotten classes change. Their target on forgotten inputs is the mean of the
other outputs: the rows of ``W`` are independent, so in the formula each such row is replaced by its difference from
that mean. A forgotten image is then classified as its nearest retained neighbour, as by a network that never saw the
class. With zero as the target, the class with the largest bias would win.

Both spaces are sums over classes, so the order of requests does not matter. ``alpha_r`` and ``alpha_f`` weigh the two
spaces against an unchanged weight. A direction that only the forget space holds, with energy ``s``, keeps
``1 / (alpha_f s + 1)`` of its weight, which is about what importance scaling leaves.

The regression is the one of knowledge editing in closed form (Meng et al., MEMIT, arXiv 2210.07229, equation 14)
with zero as the target of what is forgotten.
"""

import torch
from torch import Tensor

from .map_factors import MapFactors
from .strength import Strength


def least_squares_delta(factors: MapFactors, strength: Strength) -> Tensor:
    """Return ``W' - W``, float32 (o, i), or (g, o, i) of a group of maps.

    With ``A = alpha_r C_R + I`` the change is ``-alpha_f W F (I + alpha_f F^T A^-1 F)^-1 F^T A^-1``, where
    ``A^-1 F = F - alpha_r F_R (alpha_r F_R^T F_R + I)^-1 F_R^T F`` needs (r, r) matrices only.

    Args:
        factors: The map and its spaces.
        strength: Both alphas at least 0; at ``alpha_f = 0`` nothing changes.
    """
    alpha_r, alpha_f, dtype = strength.alpha_r, strength.effective_alpha_f, factors.weight.dtype
    left, values, vectors = factors.unprotected(alpha_r)
    shrink = (vectors * (alpha_f / (1.0 + alpha_f * values)).unsqueeze(-2)) @ vectors.mT
    if factors.own_outputs is None or len(factors.own_outputs) == len(factors.weight):
        whole: Tensor = -(factors.weight_forget @ shrink.to(dtype)) @ left.mT
        return whole
    own = list(factors.own_outputs)
    others = torch.ones(len(factors.weight), dtype=torch.bool)
    others[own] = False
    above_mean = factors.weight_forget[own] - factors.weight_forget[others].mean(0)
    delta = torch.zeros_like(factors.weight)
    delta[own] = -(above_mean @ shrink.to(dtype)) @ left.mT
    return delta
