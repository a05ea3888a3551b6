"""The sum of the spaces of very many classes at one map, kept as a second moment.

Side by side, the factors of a thousand classes have 64,000 columns, and their decomposition would cost more than all
other work on the map. Their second moment (i, i) needs one pass, is exact, and does not grow with the number of
classes.
"""

import torch
from torch import Tensor

from .compression import compress_moments
from .spaces import LARGEST_STACK, Space

COLUMNS_AT_ONCE = 1024
"""Columns that are gathered before they are multiplied: enough for a matrix product at full speed."""


class MomentSum:
    """Adds up ``weight * F F^T`` of spaces of one map, in the order given.

    Args:
        width: Number of inputs ``i``.
        device: Where to compute.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self._moments = torch.zeros(width, width, device=device)
        self._waiting: list[Tensor] = []
        self._rows = 0
        self._trace = 0.0
        self._error = 0.0
        self._weight = 0.0
        self._classes = 0
        self._space: Space | None = None

    def add(self, space: Space, weight: float) -> None:
        """Add a space with a non-negative weight; all weights together are scaled to 1."""
        self._space = None
        self._waiting.append(space.factor.to(self._moments.device).float() * weight**0.5)
        self._rows += space.rows
        self._trace += space.trace
        self._error += space.error_bound * weight
        self._weight += weight
        self._classes += space.classes
        if sum(columns.shape[1] for columns in self._waiting) >= COLUMNS_AT_ONCE:
            self._flush()

    def space(self) -> Space:
        """Return the space of all classes together, of rank at most ``LARGEST_STACK``."""
        if self._space is None:
            self._flush()
            scale = 1.0 / self._weight if self._weight else 0.0
            found = compress_moments(self._moments * scale, LARGEST_STACK)
            error = found.cut + self._error * scale
            self._space = Space(found.factor.T.contiguous(), self._rows, self._trace, error, self._classes)
        return self._space

    def _flush(self) -> None:
        if self._waiting:
            stacked = torch.cat(self._waiting, dim=1)
            self._moments.addmm_(stacked, stacked.T)
            self._waiting.clear()
