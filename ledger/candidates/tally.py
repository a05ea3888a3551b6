"""Tally of how well forgotten classes are still recognised, against what each of them may keep.

Confidence, the mean probability of the true class, counts beside accuracy: a network that has memorised a few dozen
training images still recognises all of them long after unseen images suffer (``docs/adr/0003-choosing-alpha.md``).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ledger.answers.predictions import Predictions

TARGET_SHARE_OF_GATE = 0.5
"""Share of the gate that calibration accuracy may use up: accuracy on unseen images scatters around it."""
MIN_CONFIDENCE_LIMIT = 0.02
"""Mean confidence that a forgotten class may always keep; with few classes it may keep that of an even guess."""
DOUBT_STANDARD_ERRORS = 3.0
"""Standard errors by which a mean must exceed its limit before the rest of the images is left out."""


@dataclass(frozen=True)
class ForgettingLimits:
    """How well each class may still be recognised on all its calibration images, to count as forgotten.

    Args:
        images: float64 (classes,): the number of calibration images of each class; 0 for a retained class.
        max_accuracy: The gate, a share of images: as many may be close calls, and half as many correct.
    """

    images: Tensor
    max_accuracy: float

    @property
    def confidence(self) -> float:
        """Largest mean confidence of a class."""
        return max(1 / len(self.images), MIN_CONFIDENCE_LIMIT)

    @property
    def correct(self) -> Tensor:
        """float64 (classes,): largest number of correct predictions."""
        return (self.max_accuracy * TARGET_SHARE_OF_GATE * self.images).floor()

    @property
    def close(self) -> Tensor:
        """float64 (classes,): largest number of close calls, correct predictions included."""
        return (self.max_accuracy * self.images).floor()


class ForgettingTally:
    """Counts the predictions of one candidate, class by class, as batches arrive.

    All counts are float64 (classes,). Adding batches in another order changes only the rounding of confidence.

    Args:
        limits: What each class may keep.
    """

    def __init__(self, limits: ForgettingLimits) -> None:
        self._limits = limits
        self._seen, self._correct, self._close, self._confidence, self._squares = torch.zeros(
            5, len(limits.images), dtype=torch.float64
        )

    def add(self, predictions: Predictions, labels: Tensor) -> None:
        """Count one batch of n predictions; labels are int64 (n,)."""
        confidence = predictions.confidence.double()
        for total, values in (
            (self._seen, torch.ones_like(confidence)),
            (self._correct, predictions.correct.double()),
            (self._close, predictions.close.double()),
            (self._confidence, confidence),
            (self._squares, confidence.square()),
        ):
            total.index_add_(0, labels, values)

    @property
    def images(self) -> int:
        """Number of images counted."""
        return int(self._seen.sum())

    @property
    def accuracy(self) -> float:
        """Highest accuracy of a class on the images counted; 0 before the first."""
        return float((self._correct / self._seen.clamp_min(1.0)).max())

    @property
    def revealed(self) -> float:
        """How much of a class shows: correct predictions plus confidence of the class where that is most.

        Given per image of the class with the most images so far, so it lies in [0, 2]. NaN before the first image.
        """
        return float((self._correct + self._confidence).max() / self._seen.max())

    @property
    def within_limits(self) -> bool:
        """Whether every class may still turn out to be forgotten; with all images counted, whether it is.

        Counts only grow, so a class above a count's limit stays there. A mean confidence may still come down: it counts
        as too high if it is so by ``DOUBT_STANDARD_ERRORS`` standard errors, or at all once the class is complete.
        """
        count = self._seen.clamp_min(1.0)
        mean = self._confidence / count
        error = ((self._squares / count - mean.square()).clamp_min(0.0) / count).sqrt()
        doubt = torch.where(self._seen < self._limits.images, DOUBT_STANDARD_ERRORS * error, 0.0)
        over = (self._correct > self._limits.correct) | (self._close > self._limits.close)
        return not bool((over | (mean - doubt > self._limits.confidence)).any())

    @property
    def within_proportion(self) -> bool:
        """Whether every class stays within its counts in proportion to its images so far.

        A class with half its images counted may have used half of each limit, rounded.
        """
        share = self._seen / self._limits.images.clamp_min(1.0)
        over = (self._correct > (share * self._limits.correct).round()) | (
            self._close > (share * self._limits.close).round()
        )
        return not bool(over.any())
