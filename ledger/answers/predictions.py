"""What a network predicts for calibration images, and the scores that sum predictions up."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ledger.networks.inference import checked

CLOSE_CALL_SHARE = 0.8
"""A prediction is a close call from this share of the highest probability on."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of one set of weights for n images."""

    correct: Tensor
    """bool (n,): whether the true class has the highest probability."""
    close: Tensor
    """bool (n,): whether it has at least ``CLOSE_CALL_SHARE`` of the highest probability.

    Among unseen images, those like it are the next to be recognised.
    """
    confidence: Tensor
    """float32 (n,): probability of the true class."""

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, masked: Collection[int] = ()) -> "Predictions":
        """Read predictions from logits.

        Args:
            logits: float32 (n, classes).
            labels: int64 (n,): index of the true class.
            masked: Classes that may not be answered: the others share all of the probability. Not all of them.

        Raises:
            NonFiniteError: A logit is NaN or infinite.
        """
        logits = checked(logits)
        if masked:
            logits = logits.index_fill(1, torch.tensor(sorted(masked), device=logits.device), -torch.inf)
        probabilities = torch.softmax(logits, dim=1)
        confidence = probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
        close = confidence >= CLOSE_CALL_SHARE * probabilities.amax(1)
        return cls(probabilities.argmax(1) == labels, close, confidence)


@dataclass(frozen=True)
class Scores:
    """Accuracy and confidence, each a mean over images in [0, 1]."""

    accuracy: float
    """Share of images whose true class has the highest probability."""
    confidence: float
    """Mean probability of the true class."""

    @classmethod
    def of(cls, batches: Sequence[Predictions], chosen: Tensor | None = None) -> "Scores":
        """Average over the images of all batches, in float64.

        Args:
            batches: Predictions for n images altogether.
            chosen: bool (n,): the images to average over; None for all.
        """
        correct = torch.cat([predictions.correct for predictions in batches]).double()
        confidence = torch.cat([predictions.confidence for predictions in batches]).double()
        if chosen is not None:
            correct, confidence = correct[chosen], confidence[chosen]
        return cls(float(correct.mean()), float(confidence.mean()))
