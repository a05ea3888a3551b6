"""Displacement: how far the input rows of forgotten classes lie from the retained classes that they resemble.

A network that never saw a class takes its images for a mixture of look-alikes. At every linear map, the mean row of the
forgotten class is compared with the same mixture of the retained classes' mean rows, and so is the mean row of each of
its look-alike groups, whose mixture is another one. What is left between the two is what the network knows of the class
and the others do not explain (``docs/method.md``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MOST_COLUMNS = 512
"""Columns of a displacement beyond which look-alike groups are left out: a linear system of that size is solved for
every candidate. Each forgotten class has one column in any case."""


@dataclass(frozen=True, eq=False)
class Displacement:
    """The displacement at one linear map (or g maps of one shape, whose tensors have a leading dimension)."""

    columns: Tensor
    """float32 (i, m): for each forgotten class the mean row less its mixture; and for each of its look-alike groups,
    by how much the group's displacement differs from the class's."""
    weights: Tensor
    """float64 (m,): the share of its class that a group holds; infinite for the class itself."""
    retained: Tensor
    """float32 (i, classes): the mean rows of retained classes."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """What the images of one forgotten class, or of a look-alike group of it, resemble."""

    weights: Tensor
    """float32 (classes,): shares of the retained classes, in the order of their mean rows; they sum to 1."""
    share: float
    """The share of its class that a group holds; infinite for the class itself."""


def restricted(prediction: Tensor, retained: Sequence[int]) -> Tensor:
    """Return a mean masked prediction (classes,) restricted to retained classes, float32; it sums to 1.

    Other forgotten classes are masked too. A class that resembled only those resembles all retained classes evenly.
    """
    kept = prediction.double()[list(retained)].clamp_min(0.0)
    total = kept.sum()
    even = torch.full_like(kept, 1 / max(1, len(kept)))
    return (kept / total if float(total) > math.ulp(1.0) else even).float()


def displacement(
    means: Tensor, deviations: Sequence[Tensor], mixtures: Sequence[Sequence[Mixture]], retained: Tensor
) -> Displacement:
    """Return the displacement at one map.

    Args:
        means: Mean rows of forgotten classes, float32 (i, s), or (g, i, s) of several maps.
        deviations: For each class, how far its groups' mean rows lie from its own, float32 (i, j). Empty for several
            maps, which do without groups.
        mixtures: For each class, its own mixture and then those of its j groups.
        retained: Mean rows of retained classes, float32 (i, r) or (g, i, r).
    """
    columns, weights = [], []
    for k, (own, *groups) in enumerate(mixtures):
        columns.append(means[..., k : k + 1] - retained @ own.weights.to(retained)[:, None])
        weights.append(own.share)
        for j, group in enumerate(groups if deviations else ()):
            apart = (group.weights - own.weights).to(retained)
            columns.append(deviations[k][:, j : j + 1] - retained @ apart[:, None])
            weights.append(group.share)
    return Displacement(torch.cat(columns, dim=-1), torch.tensor(weights, dtype=torch.float64), retained)
