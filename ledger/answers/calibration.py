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
    frequent: bool = True
    """Whether so many candidates are shown it that activations before their edits are worth recording."""


@dataclass(frozen=True)
class Calibration:
    """The images to judge candidates on, mixed over classes so that every batch tells something about each.

    Images of retained classes are held out from every class space. Images of forgotten classes are only partly held
    out: to see an accuracy near zero takes more images than can be spared.
    """

    forgotten: Sequence[Batch]
    retained: Sequence[Batch]
    """In the order in which candidates are shown them, which is random, but for the last ones (:attr:`alike`)."""
    alike: int = 0
    """Number of batches at the end of the retained ones with what the forgotten classes resemble: every candidate that
    is not ruled out before is shown them."""
    compared: int | None = None
    """Number of batches at the beginning of the retained ones by which, with those of :attr:`alike`, candidates are
    compared; None for all."""

    @property
    def drawn_batches(self) -> Sequence[Batch]:
        """Retained batches in random order."""
        return self.retained[: len(self.retained) - self.alike]

    @property
    def alike_batches(self) -> Sequence[Batch]:
        """Retained batches with what the forgotten classes resemble."""
        return self.retained[len(self.retained) - self.alike :]

    @property
    def compared_batches(self) -> Sequence[Batch]:
        """Retained batches by which candidates are compared."""
        if self.compared is None:
            return self.retained
        return (*self.drawn_batches[: self.compared], *self.alike_batches)

    @property
    def batches(self) -> tuple[Batch, ...]:
        """All batches, those of forgotten classes first."""
        return (*self.forgotten, *self.retained)
