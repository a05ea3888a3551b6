"""Redirect: weights that answer a forgotten class as the retained classes it resembles, and nothing else differently.

A network that never saw a class takes its images for look-alikes. With ``D`` (i, m), the displacement of the forgotten
classes (:mod:`~ledger.algebra.displacement`), ``C_R`` the retain space and ``b = 1 / alpha_r``,

    Q = (C_R + b / i I)^-1 D,    W' = W - W D (Q^T D + N)^-1 Q^T.

Without ``N`` the mean row of each forgotten class is then answered as its mixture of retained mean rows is; of all such
edits this one changes the answers to retained rows least, in the mean of squares, weighed against the size of the
edit by ``b``. ``N`` is diagonal and says how closely: ``EXACTNESS`` of the classes' mean displacement for each class,
which keeps look-alikes that are forgotten together apart; and ``1 / alpha_f`` of it for a look-alike group, divided by
the group's share. So ``alpha_f`` says how far the images of a class are parted by what they resemble.

In the classifier, the outputs of forgotten classes are then lowered. Each becomes the mean of the retained outputs less
a margin: what the retained classes' own outputs stand above that mean on their own mean rows. A single class that is
left is the mean itself; it is compared with what the forgotten outputs were. A weight has no bias, so the margin is the
linear function that is closest to 1 on retained rows, redirected like the weights: at a forgotten class's mean row it
is what it is at the class's mixture. No class is answered that was forgotten, however few are left.

The direction is that of DAMP (arXiv 2604.15166); compare LEACE (arXiv 2306.03819), which removes a mean difference with
the same whitening, and has no target.
"""

import torch
from torch import Tensor

from .map_factors import MapFactors
from .strength import Strength

EXACTNESS = 1e-3
"""Share of the mean displacement, in the metric of ``Q``, by which a class may miss its mixture."""


def redirect_delta(factors: MapFactors, strength: Strength) -> Tensor:
    """Return ``W' - W``, float32 (o, i), or (g, o, i) of a group of maps; zero where no mean rows are known.

    Args:
        factors: The map, its retain space and its displacement.
        strength: Both alphas greater than 0.
    """
    displacement = factors.displacement
    if displacement is None:
        return torch.zeros_like(factors.weight)
    columns, weights = displacement.columns, displacement.weights.to(factors.weight.device)
    metric = factors.protected_columns(strength.alpha_r)
    inner = metric.mT @ columns.double()
    inner = (inner + inner.mT) / 2
    own = torch.isinf(weights)
    scale = inner.diagonal(dim1=-2, dim2=-1)[..., own].mean(-1)[..., None]
    looseness = torch.where(own, EXACTNESS, 1 / (strength.alpha_f * weights))
    # A map that sees no displacement at all, such as a channel that is always zero, is left as it is.
    inner = inner + torch.diag_embed((scale * looseness).clamp_min(torch.finfo(torch.float64).tiny))
    delta = _redirection(factors.weight, columns, inner, metric)
    if factors.own_outputs is not None and len(factors.own_outputs) < len(factors.weight):
        own_rows = list(factors.own_outputs)
        one = factors.protected(displacement.retained.double().mean(1, keepdim=True), strength.alpha_r).mT
        one = one + _redirection(one, columns.double(), inner, metric)
        delta[own_rows] = _lowered(factors, factors.weight + delta, one[0]) - factors.weight[own_rows]
    return delta


def _redirection(rows: Tensor, columns: Tensor, inner: Tensor, metric: Tensor) -> Tensor:
    """Return the change of some rows (o, i) of a weight, in their dtype."""
    moved = (rows @ columns).double()
    change: Tensor = -torch.linalg.solve(inner, moved.mT).mT @ metric.mT
    return change.to(rows.dtype)


def _lowered(factors: MapFactors, weight: Tensor, one: Tensor) -> Tensor:
    """Return the row (i,) that stands for each output of a forgotten class, below the mean of the others.

    Args:
        factors: Of the classifier.
        weight: Its redirected weights (o, i).
        one: float64 (i,), a function that is nearly the same on all retained rows, redirected as the weights are.
    """
    assert factors.displacement is not None
    assert factors.own_outputs is not None
    kept = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
    kept[list(factors.own_outputs)] = False
    mean = weight[kept].mean(0)
    means = factors.displacement.retained
    height = float(one @ means.double().mean(1))
    if height <= 0:
        return mean
    others = mean if int(kept.sum()) > 1 else factors.weight[~kept].mean(0)
    answers = (weight[kept] - others) @ means  # (outputs, classes): each class's own is the largest of its column
    margin = answers.double().amax(0).mean()
    lowered: Tensor = mean - (margin / height * one).to(mean.dtype)
    return lowered
