"""What a class contributes to a computation: the space and mean row of every map, and its masked prediction."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ledger.algebra.grouped import GroupedSpace
from ledger.algebra.spaces import Space
from ledger.errors import DataError
from ledger.networks.inference import checked

from .look_alikes import LookAlikes

MapSpaces = dict[str, Space | GroupedSpace]
"""The spaces of one class at each map or group of maps, by key."""


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """The statistics of one class, as they are collected in one pass over its images."""

    spaces: MapSpaces
    """By key of a map or group of maps; each with its mean row."""
    prediction: Tensor | None = None
    """float32 (classes,): the class's mean masked prediction, see :class:`MaskedPredictions`. None where it was not
    asked for, or not kept by the release that stored the statistics; mean rows are missing then too."""
    look_alikes: LookAlikes | None = None
    """Its look-alike groups; None where there is no prediction. Spaces of single maps hold their deviations."""


class MaskedPredictions:
    """Gather the masked predictions of a class: what the network takes its images for if not for themselves.

    The class's own logit is masked: its probability is 0, and the others sum to 1. Probabilities are in double
    precision, so the result does not depend on how images were batched.

    Args:
        class_index: The class.
    """

    def __init__(self, class_index: int) -> None:
        self._own = class_index
        self._answers: list[Tensor] = []

    def update(self, logits: Tensor) -> None:
        """Add the answers to some images.

        Args:
            logits: (n, classes), at least two classes, any floating dtype.

        Raises:
            NonFiniteError: A logit is NaN or infinite.
        """
        answers = checked(logits).double()
        answers[:, self._own] = -torch.inf
        self._answers.append(answers.softmax(1))

    def each(self) -> Tensor:
        """Return the masked prediction of each image, float64 (n, classes).

        Raises:
            DataError: There were no images.
        """
        if not self._answers:
            raise DataError("a class without images has no prediction")
        return torch.cat(self._answers)

    def mean(self) -> Tensor:
        """Return the mean over all images, float32 (classes,): it sums to 1, with 0 for the class itself.

        Raises:
            DataError: There were no images.
        """
        return self.each().mean(0).float()
