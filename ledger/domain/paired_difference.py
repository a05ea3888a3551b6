"""How far a difference of two accuracies may be off when both were counted on the same images.

Two networks that answer the same images mostly agree on them, so what they differ by is known better than two separate
samples of that size would tell. The 95 % interval is the score interval for paired shares of Newcombe (1998),
"Improved confidence intervals for the difference between binomial proportions based on paired data", Statistics in
Medicine 17, pages 2635-2650, method 10: Wilson's intervals of both shares, put together with the correlation of the
answers, corrected for continuity. It stays within -1 and 1 and has a width also where the two agree on every image,
which McNemar's test and the simple interval do not.
"""

import math
from dataclasses import dataclass

from .intervals import wilson


@dataclass(frozen=True)
class PairedCounts:
    """Images that two networks answered, and how many each recognised."""

    images: int
    first: int
    """Recognised by the first network."""
    second: int
    """Recognised by the second network."""
    both: int
    """Recognised by both."""

    @property
    def difference(self) -> float | None:
        """Share of the first less share of the second; None without images."""
        return (self.first - self.second) / self.images if self.images else None

    def interval(self) -> tuple[float, float] | None:
        """Return the bounds of the difference; None without images.

        Newcombe 1998, section 2, method 10: with shares p1, p2, their Wilson bounds (l1, u1), (l2, u2), and phi the
        correlation of the two answers, the lower bound lies sqrt(a^2 - 2 phi a b + b^2) below the difference, where
        a = p1 - l1 and b = u2 - p2; the upper one as far above it with u1 - p1 and p2 - l2.
        """
        bounds = wilson(self.first, self.images), wilson(self.second, self.images)
        if bounds[0] is None or bounds[1] is None:
            return None
        p1, p2 = self.first / self.images, self.second / self.images
        phi, middle = self._correlation(), p1 - p2
        below = _reach(p1 - bounds[0].low, bounds[1].high - p2, phi)
        above = _reach(bounds[0].high - p1, p2 - bounds[1].low, phi)
        return max(-1.0, middle - below), min(1.0, middle + above)

    def _correlation(self) -> float:
        """Return phi, with Newcombe's correction for continuity where the answers go together."""
        only_first, only_second = self.first - self.both, self.second - self.both
        neither = self.images - self.both - only_first - only_second
        margins = self.first * self.second * (self.images - self.first) * (self.images - self.second)
        if margins == 0:
            return 0.0
        together = float(self.both * neither - only_first * only_second)
        if together > 0:
            together = max(together - self.images / 2, 0.0)
        return together / math.sqrt(margins)


def _reach(a: float, b: float, phi: float) -> float:
    # Rounding may leave a tiny negative number under the root where phi is 1.
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))
