"""Calibration images: the training images that candidates are judged on."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Calibration images with their class indices."""

    images: Tensor
    """float32 (n, channels, height, width), preprocessed."""
    labels: Tensor
    """int64 (n,): index of the true class."""
    held_out: Tensor | None = None
    """bool (n,): whether an image is held out from the class spaces. None: all are."""
    indices: tuple[int, ...] | None = None
    """Of the images in the training split; None where answers to them are kept nowhere."""


@dataclass(frozen=True)
class Calibration:
    """The images to judge candidates on, mixed over classes so that every batch tells something about each.

    Images of retained classes are held out from every class space. Images of forgotten classes are only partly held
    out: to see an accuracy near zero takes more images than can be spared.
    """

    forgotten: Sequence[Batch]
    retained: Sequence[Batch]

    @property
    def batches(self) -> tuple[Batch, ...]:
        """All batches, those of forgotten classes first."""
        return (*self.forgotten, *self.retained)
