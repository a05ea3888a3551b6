"""Spaces: compressed, trace-normalised second moments of input rows with their mean, and weighted sums of them.

Source: Kodge, Saha, Roy, "Deep Unlearning", arXiv 2312.00761, section 4 (space estimation). The
paper keeps the left singular vectors ``U`` and the normalised energies ``s`` of the activations;
here a space is the factor ``F = U diag(sqrt(s))`` of shape (i, r), so that ``C = F F^T``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .compression import compress

LARGEST_STACK = 1024
"""Largest rank of a sum of spaces. Directions that it cuts off count as used by no class."""
LARGEST_FORGET = 256
"""Largest rank of a forget space. The cost of every candidate grows with it, so it must not grow with the requests."""


@dataclass(frozen=True)
class Space:
    """The second moment of one class's input rows at one linear map, normalised to trace 1."""

    factor: Tensor
    """(i, r), float32 or, as stored, float16: ``F`` with ``F F^T`` close to ``G / tr(G)``."""
    rows: int
    """Number of input rows seen, ``n``."""
    trace: float
    """``tr(G)`` of the rows before normalisation: their summed squared length."""
    error_bound: float
    """Upper estimate of the spectral norm of ``G / tr(G) - F F^T``: a bound wherever the decomposition was exact."""
    classes: int = 1
    """Number of classes it is the mean of."""
    mean: Tensor | None = None
    """float32 (i,): the mean row, not divided by anything else; zero where there were no rows. None where it is not
    known: in sums of several classes, and in spaces that were stored by releases that did not keep it."""
    deviations: Tensor | None = None
    """float32 (r, j): how far the mean row of each of the class's look-alike groups lies from its mean row, which is
    ``length * factor @ deviations`` (i, j). None where it is not known."""

    @classmethod
    def empty(cls, width: int, *, rows: int = 0) -> "Space":
        """Return the space of no rows, or of rows that are all zero: rank 0, no energy, mean zero."""
        return cls(torch.zeros(width, 0), rows=rows, trace=0.0, error_bound=0.0, mean=torch.zeros(width))

    def to(self, device: torch.device) -> "Space":
        """Return the same space with its tensors on a device."""
        mean, deviations = (None if tensor is None else tensor.to(device) for tensor in (self.mean, self.deviations))
        return replace(self, factor=self.factor.to(device), mean=mean, deviations=deviations)

    def look_alike_deviations(self) -> Tensor:
        """Return how far the mean rows of look-alike groups lie from the class's, float32 (i, j); j = 0 if unknown."""
        if self.deviations is None:
            return self.factor.new_zeros(self.width, 0).float()
        return self.length * self.factor.float() @ self.deviations

    @property
    def length(self) -> float:
        """Root mean squared length of the rows; 0 where there were none, or all were zero."""
        return float((self.trace / max(1, self.rows)) ** 0.5)

    @property
    def width(self) -> int:
        """Number of inputs ``i``."""
        return self.factor.shape[0]

    @property
    def rank(self) -> int:
        """Number of kept directions ``r``."""
        return self.factor.shape[1]


def retain_weights(spaces: Sequence[Space]) -> list[float]:
    """Weight retained classes by their energy, so that ``C_R = sum G_c / tr(sum G_c)``."""
    total = sum(space.trace for space in spaces)
    return [space.trace / total if total else 0.0 for space in spaces]


def forget_weights(spaces: Sequence[Space]) -> list[float]:
    """Weight forgotten classes equally: each contributes its own normalised space, whatever its size.

    ``strength.Strength`` multiplies the forget alpha by the number of classes, so that a class
    forgotten together with others is forgotten about as thoroughly as alone (a direction that one class
    alone uses is scaled by at least ``alpha_f / (alpha_f + 1)`` of what it would be).
    """
    classes = sum(space.classes for space in spaces)
    return [space.classes / classes for space in spaces]


def stack(spaces: Sequence[Space], weights: Sequence[float], largest: int | None = None) -> Tensor:
    """Return a factor of the weighted sum of spaces, in the order given.

    Exact while the columns fit; more columns than ``largest`` (or the width) are compressed to as many.

    Args:
        spaces: At least one space, all of the same width.
        weights: Non-negative, one for each space.
        largest: Largest rank; if not given, ``LARGEST_STACK``.

    Returns:
        float32 (i, r), r at most ``largest``.
    """
    stacked = torch.cat([s.factor.float() * w**0.5 for s, w in zip(spaces, weights, strict=True)], dim=1)
    width, columns = stacked.shape
    largest = largest or LARGEST_STACK
    if columns <= min(width, largest):
        return stacked
    return compress(stacked.T.contiguous(), largest).factor.T.contiguous()
