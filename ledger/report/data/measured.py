"""A share with the images it was counted on, and the interval that these leave open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.domain.intervals import Interval, mean_interval, wilson
from ledger.domain.numbers import finite_number

from .numbers import mean_of_known

FEW_IMAGES = 20
"""With fewer test images than this, a class is marked: with 20, none of them recognised, a sixth may still be."""


@dataclass(frozen=True)
class Measured:
    """A share, or an area under a curve, as far as it is known."""

    share: float | None
    images: int | None = None
    """Number of images; None where nobody recorded it."""
    interval: Interval | None = None
    """95 % confidence; None where nobody recorded how many images there were."""


@dataclass(frozen=True)
class SplitAccuracy:
    """The accuracy of one network on each class, on one split."""

    shares: tuple[float | None, ...]
    """By class; None where nothing was measured."""
    images: tuple[int | None, ...]
    """Number of images, by class; None where nobody recorded it."""

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return any(share is not None for share in self.shares)

    def of_class(self, k: int) -> Measured:
        """Return the accuracy on one class."""
        share, images = self.shares[k], self.images[k]
        counted = share is not None and images is not None
        return Measured(share, images, wilson(*_counts(share, images)) if counted else None)

    def mean(self, classes: Sequence[int]) -> Measured:
        """Return the unweighted mean over some classes."""
        share = mean_of_known([self.shares[k] for k in classes])
        told = [(self.shares[k], self.images[k]) for k in classes if self.shares[k] is not None]
        if not told or any(images is None for _, images in told):
            return Measured(share)
        counts = [_counts(*pair) for pair in told]
        return Measured(share, sum(images for _, images in counts), mean_interval(counts))

    def few(self, k: int) -> bool:
        """Whether a class has so few images that its accuracy says little."""
        images = self.images[k]
        return images is not None and images < FEW_IMAGES


def read_split(
    metrics: Mapping[str, Any], name: str, classes: int, images: Sequence[int | None] = ()
) -> SplitAccuracy | None:
    """Read the accuracies of one network on one split, e.g. ``base_test``; None if there are none.

    Args:
        metrics: Of the evaluator ``accuracy``, from any release.
        name: Of the network and the split.
        classes: Number of the model's classes.
        images: Numbers of images by class, where the metrics have none.
    """
    split = metrics.get(name)
    if not isinstance(split, Mapping):
        return None
    shares = _numbers(split.get("per_class"), classes)
    counted = tuple(None if n is None or n < 0 else int(n) for n in _numbers(split.get("images"), classes))
    if all(n is None for n in counted) and len(images) == classes:
        counted = tuple(images)
    found = SplitAccuracy(tuple(s if s is None else min(1.0, max(0.0, s)) for s in shares), counted)
    return found if found.known else None


def read_interval(low: object, high: object) -> Interval | None:
    """Read an interval from two JSON values; None if either is no number."""
    ends = finite_number(low), finite_number(high)
    return None if ends[0] is None or ends[1] is None else Interval(ends[0], ends[1])


def _numbers(values: object, classes: int) -> tuple[float | None, ...]:
    if not isinstance(values, list) or len(values) != classes:
        return (None,) * classes
    return tuple(finite_number(value) for value in values)


def _counts(share: float | None, images: int | None) -> tuple[int, int]:
    """Return correct answers and images."""
    return round((share or 0.0) * (images or 0)), images or 0
