"""What a class contributes to a computation: the space and mean row of every map, and its masked prediction."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ledger.algebra.grouped import GroupedSpace
from ledger.algebra.spaces import Space
from ledger.errors import DataError
from ledger.networks.inference import checked

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


class MaskedPredictions:
    """Accumulate the mean masked prediction of a class: what the network takes its images for if not for themselves.

    The class's own logit is masked: its probability is 0, and the others sum to 1. Probabilities are formed and added
    up in double precision, image by image, so the result does not depend on how images were batched.

    Args:
        class_index: The class.
    """

    def __init__(self, class_index: int) -> None:
        self._own = class_index
        self._images = 0
        self._sum: Tensor | None = None

    def update(self, logits: Tensor) -> None:
        """Add the answers to some images.

        Args:
            logits: (n, classes), at least two classes, any floating dtype.

        Raises:
            NonFiniteError: A logit is NaN or infinite.
        """
        answers = checked(logits).double()
        answers[:, self._own] = -torch.inf
        if self._sum is None:
            self._sum = torch.zeros(answers.shape[1], dtype=torch.float64)
        for row in answers.softmax(1):
            self._sum += row
        self._images += len(answers)

    def mean(self) -> Tensor:
        """Return the mean over all images, float32 (classes,): it sums to 1, with 0 for the class itself.

        Raises:
            DataError: There were no images.
        """
        if self._sum is None or self._images == 0:
            raise DataError("a class without images has no prediction")
        return (self._sum / self._images).float()
