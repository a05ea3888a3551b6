"""What a network returns: logits, as everything here expects, or something that was made of them.

The softmax of probabilities is nearly flat. Confidence, which decides between candidates, would measure nothing, nor
would the membership attacks; accuracy alone would look right. Log-probabilities are harmless: their softmax is that of
the logits.
"""

from enum import StrEnum

import torch
from torch import Tensor

TOLERANCE = 0.01
"""Largest difference of a row's sum from the whole, as a share: half precision rounds by less."""
LEAST_ROWS = 20
"""Answers without which values between 0 and 1 may be logits by accident."""


class AnswerKind(StrEnum):
    """What the rows of a network's answer are."""

    LOGITS = "logits"
    LOG_PROBABILITIES = "log-probabilities"
    PROBABILITIES = "probabilities"
    SIGMOIDS = "sigmoids"
    CONSTANT = "constant"

    @property
    def fits(self) -> bool:
        """Whether its softmax is the network's confidence."""
        return self in (AnswerKind.LOGITS, AnswerKind.LOG_PROBABILITIES)


def kind_of_answer(answers: Tensor) -> AnswerKind:
    """Tell what a network's answers (n, classes) for different images are; with one answer, logits."""
    rows = answers.double()
    if len(rows) < 2 or rows.shape[1] < 2:
        return AnswerKind.LOGITS
    scale = float(rows.abs().max())
    if float((rows - rows[:1]).abs().max()) <= 1e-6 * scale:
        return AnswerKind.CONSTANT
    if float(rows.min()) >= -1e-6 * scale and _whole(rows.sum(1)):
        return AnswerKind.PROBABILITIES
    if float(rows.max()) <= TOLERANCE and float(torch.logsumexp(rows, 1).abs().max()) <= TOLERANCE:
        return AnswerKind.LOG_PROBABILITIES
    spans = float(rows.min()) < 0.1 and float(rows.max()) > 0.9
    if len(rows) >= LEAST_ROWS and spans and float(rows.min()) >= 0 and float(rows.max()) <= 1:
        return AnswerKind.SIGMOIDS
    return AnswerKind.LOGITS


def _whole(sums: Tensor) -> bool:
    """Whether all rows add up to one, or to a hundred per cent."""
    return any(float((sums - whole).abs().max()) <= TOLERANCE * whole for whole in (1.0, 100.0))
