"""How far a share of correct answers may be off, since it was counted on few images: 95 % confidence intervals.

- *Of one class*: the score interval of Wilson (1927), Journal of the American Statistical Association 22, pages
  209-212. It stays between 0 and 1, and is not empty where no answer or every answer is correct.
- *Of an unweighted mean over classes*: the intervals of the classes, put together as by Zou, Huang, Zhang (2009),
  Computational Statistics & Data Analysis 53, pages 1080-1085. With one class it is Wilson's.
- *Of a loss between two networks on the same images*: only images that one of them recognises and the other does not
  count. The intervals of the shares that were lost and gained are put together in the same way.

They speak of the images that could have been drawn, not of another training or another sample of activations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True)
class Interval:
    """Bounds of a share, between 0 and 1, or of a difference of shares, between -1 and 1."""

    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the bounds by name."""
        return {"low": self.low, "high": self.high}


def wilson(correct: int, images: int) -> Interval | None:
    """Return the interval of a share that was counted; None without images.

    Args:
        correct: Number of images that count.
        images: Number of all images.
    """
    if images <= 0:
        return None
    centre = correct + _Z**2 / 2
    reach = _Z * math.sqrt(correct * (images - correct) / images + _Z**2 / 4)
    # At the ends rounding would leave a bound of some 1e-17 beside the exact one.
    low = 0.0 if correct == 0 else (centre - reach) / (images + _Z**2)
    high = 1.0 if correct == images else (centre + reach) / (images + _Z**2)
    return Interval(max(0.0, low), min(1.0, high))


def mean_interval(counts: Sequence[tuple[int, int]]) -> Interval | None:
    """Return the interval of the unweighted mean of several classes' shares; None if none of them has images.

    Each class's distance to its own bound enters with its weight, squared (Zou et al. 2009, equation 3).

    Args:
        counts: Correct answers and images of each class. Classes without images are left out of the mean.
    """
    known = [(correct / images, bounds) for correct, images in counts if (bounds := wilson(correct, images))]
    if not known:
        return None
    weight = 1 / len(known)
    mean = weight * math.fsum(share for share, _ in known)
    down = weight * math.sqrt(math.fsum((share - bounds.low) ** 2 for share, bounds in known))
    up = weight * math.sqrt(math.fsum((bounds.high - share) ** 2 for share, bounds in known))
    return Interval(max(0.0, mean - down), min(1.0, mean + up))


def mean_loss_interval(counts: Sequence[tuple[int, int, int]]) -> Interval | None:
    """Return the interval of the unweighted mean loss of several classes; None if none of them has images.

    Lost and gained images are taken for independent counts. They exclude each other, so that this is a little too wide.

    Args:
        counts: Of each class, the images that only the network before recognises, those that only the network after
            does, and all images. Classes without images are left out of the mean.
    """
    parts = [
        (lost / images, of_lost, gained / images, of_gained)
        for lost, gained, images in counts
        if (of_lost := wilson(lost, images)) and (of_gained := wilson(gained, images))
    ]
    if not parts:
        return None
    weight = 1 / len(parts)
    mean = weight * math.fsum(lost - gained for lost, _, gained, _ in parts)
    down = math.fsum((lost - bound.low) ** 2 + (other.high - gained) ** 2 for lost, bound, gained, other in parts)
    up = math.fsum((bound.high - lost) ** 2 + (gained - other.low) ** 2 for lost, bound, gained, other in parts)
    return Interval(max(-1.0, mean - weight * math.sqrt(down)), min(1.0, mean + weight * math.sqrt(up)))
