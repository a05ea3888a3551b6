"""Tell from as few images as possible whether a candidate keeps the retained bar on all of them, with a stated error.

Losses of images are drawn one by one, in a random order and without replacement, from a finite set. Somebody bets
against the claim that their mean does not exceed a threshold: a bet is fair if the mean is just the threshold, and
loses on average if it is less. So the capital is a supermartingale under the claim, and comes to ``1 / error`` times
what it began with, at any time, with at most the probability ``error`` (Ville's inequality). Whoever has become that
rich may say that the claim is wrong, however often they looked. Source: Waudby-Smith and Ramdas, "Estimating means of
bounded random variables by betting", Journal of the Royal Statistical Society B 86 (2024), sections 4 and 5.

Bets follow what was drawn so far: the growth-optimal share for its mean and variance (their "aGRAPA"). How well they
are chosen decides how soon it is clear, and nothing else.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

PRIOR_DEVIATION = 0.025
"""What deviation of the drawn numbers, in [0, 1], bets begin with; it counts as much as one of them."""
LARGEST_STAKE = 0.95
"""Largest share of the capital that can be lost by one number."""
CERTAIN = math.inf
"""Evidence where what is left to draw cannot bring the mean down to the threshold any more."""
ROUNDING = 1e-9
"""By how much a mean may be on the wrong side through rounding alone."""


@dataclass
class MeanAbove:
    """Evidence that the mean of a finite set of numbers in [0, 1] lies above a threshold.

    Args:
        count: How many numbers there are.
        threshold: What their mean is compared with.
        seen: Numbers that bets are chosen by beside those that are drawn; they are none of the set.
    """

    count: int
    threshold: float
    seen: Sequence[float] = ()
    evidence: float = field(default=1.0, init=False)
    """The largest capital so far. Where the mean is not above the threshold, it reaches ``1 / error`` with at most the
    probability ``error``, over the orders in which they may be drawn."""

    def __post_init__(self) -> None:
        self._capital = 1.0
        self._drawn, self._sum = 0, 0.0
        self._known, self._mean, self._squares = 1, 0.5, PRIOR_DEVIATION**2
        for value in self.seen:
            self._learn(value)
        self._look()

    def add(self, value: float) -> None:
        """Draw one number."""
        rest = self._rest
        if 0 < rest < 1:
            variance, gap = self._squares / self._known, self._mean - rest
            stake = min(max(0.0, gap / (variance + gap * gap)), LARGEST_STAKE / rest)
            self._capital *= 1 + stake * (value - rest)
            self.evidence = max(self.evidence, self._capital)
        self._drawn += 1
        self._sum += value
        self._learn(value)
        self._look()

    @property
    def _rest(self) -> float:
        """Mean of what is left to draw, if the mean of all is the threshold."""
        return (self.count * self.threshold - self._sum) / (self.count - self._drawn)

    def _look(self) -> None:
        if self.count * self.threshold - self._sum < -ROUNDING:
            self.evidence = CERTAIN

    def _learn(self, value: float) -> None:
        self._known += 1
        before = value - self._mean
        self._mean += before / self._known
        self._squares += before * (value - self._mean)


class BarTest:
    """Decides whether the mean loss over all retained images keeps the bar.

    The images are of two kinds: those that are looked at in any case, *known* for short, and those that are drawn in a
    random order until it is clear. The first that are drawn and the known ones tell how much the loss scatters: a
    candidate has to keep the bar with the standard error of the loss over all images added. With all images drawn, that
    is decided as it is.

    Args:
        bar: Largest mean loss.
        error: Probability, over the order of drawing, with which a candidate that breaks the bar is taken for one that
            keeps it, and the other way round. 0 draws all images.
        drawn: How many images there are to draw.
        known: How many others there are.
        least_known: The sum of their losses is no less.
        first: Images to draw before a candidate can be taken for one that keeps the bar.
    """

    def __init__(
        self, bar: float, error: float, drawn: int, *, known: int = 0, least_known: float = 0.0, first: int = 0
    ) -> None:
        self._bar, self._error, self._first = bar, error, first
        self._count, self._known_count = drawn, known
        self._drawn: list[float] = []
        self._known: list[float] | None = None if known else []
        # Before the known ones are looked at, they count as the best that they can be.
        self._before_known = MeanAbove(drawn, self._scaled(self._rest(bar, least_known))) if known else None
        self._breaks = None if known else MeanAbove(drawn, self._scaled(self._rest(bar, 0.0)))
        self._keeps: MeanAbove | None = None

    def add(self, losses: Iterable[float]) -> None:
        """Take note of the losses, in [-1, 1], of the images that were drawn next."""
        for loss in losses:
            self._drawn.append(loss)
            for test in (self._before_known, self._breaks):
                if test is not None:
                    test.add(self._scaled(loss))
            if self._keeps is not None:
                self._keeps.add(self._scaled(-loss))
        self._begin_keeping()

    def add_known(self, losses: Iterable[float]) -> None:
        """Take note of the losses of all known images."""
        self._known = list(losses)
        self._breaks = MeanAbove(self._count, self._scaled(self._rest(self._bar, sum(self._known))))
        for loss in self._drawn:
            self._breaks.add(self._scaled(loss))
        self._begin_keeping()

    @property
    def wants_known(self) -> bool:
        """Whether the known images should be looked at before more are drawn."""
        return self._known is None and len(self._drawn) >= min(self._first, self._count)

    @property
    def verdict(self) -> bool | None:
        """Whether the bar is kept; None while it is not clear."""
        if self._known is not None and len(self._drawn) == self._count:
            return self.loss + self.standard_error <= self._bar
        if not self._error:
            return None
        # Two looks at the same question, where there are known images.
        share = self._error / 2 if self._known_count else self._error
        if any(test is not None and test.evidence * share >= 1 for test in (self._before_known, self._breaks)):
            return False
        if self._keeps is not None and self._keeps.evidence * self._error >= 1:
            return True
        return None

    @property
    def loss(self) -> float:
        """Mean loss over all images, as far as they tell; 0 before the first."""
        known = self._known or []
        if not self._drawn:
            return sum(known) / len(known) if known else 0.0
        mean = sum(self._drawn) / len(self._drawn)
        if self._known_count and not known:
            return mean
        return (sum(known) + self._count * mean) / (self._count + len(known))

    @property
    def standard_error(self) -> float:
        """Deviation of the losses that were seen, divided by the root of the number of all images."""
        seen = [*(self._known or []), *self._drawn]
        if len(seen) < 2:
            return 0.0
        mean = sum(seen) / len(seen)
        variance = sum((loss - mean) ** 2 for loss in seen) / (len(seen) - 1)
        return math.sqrt(variance / (self._count + self._known_count))

    def _begin_keeping(self) -> None:
        """Begin to bet that the rest keeps the bar, once the scatter is known; its threshold must not move after."""
        begun = self._keeps is not None or self._known is None or len(self._drawn) < self._first
        if begun or len(self._drawn) >= self._count:
            return
        left = self._count - len(self._drawn)
        threshold = self._bar - self.standard_error
        allowed = threshold * (self._count + self._known_count) - sum(self._known or []) - sum(self._drawn)
        seen = [self._scaled(-loss) for loss in self._drawn]
        self._keeps = MeanAbove(left, self._scaled(-allowed / left), seen)

    def _rest(self, mean: float, known: float) -> float:
        """Return the mean of the drawn ones that, with the sum of the known ones, makes a mean of all."""
        return (mean * (self._count + self._known_count) - known) / self._count

    @staticmethod
    def _scaled(loss: float) -> float:
        """Return a number in [0, 1] for a loss in [-1, 1]."""
        return (1 + loss) / 2
