"""Choose calibration images: enough of each class to judge it, few enough to be quick."""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch

from ledger.domain.settings import Preprocessing
from ledger.hookspecs import Split
from ledger.images.loading import load_images
from ledger.images.sampling import ClassSamples

from .calibration import Batch, Calibration

FORGOTTEN_IMAGES = 300
"""Images that forgetting is judged on, all forgotten classes together; more if each would get fewer than below."""
FORGOTTEN_IMAGES_EACH = 50
"""Images that each forgotten class should get."""
MOST_FORGOTTEN_IMAGES = 600
"""Limit to the images added so that each class gets those, unless each would get fewer than below."""
FEWEST_FORGOTTEN_IMAGES_EACH = 10
"""Images that each forgotten class gets in any case."""
RETAINED_IMAGES = 512
"""Images that retention is judged on, all classes together; more if each would get fewer than below."""
RETAINED_IMAGES_EACH = 10
"""Images that each retained class should get."""
MOST_RETAINED_IMAGES = 1000
"""Limit to the images added so that each class gets those; every class gets one in any case."""
CALIBRATION_BATCH = 32
"""Images in a batch: few, since most candidates are rejected after a batch or two."""


def sample_calibration(
    split: Split,
    samples: Callable[[int], ClassSamples],
    *,
    forgotten: Sequence[int],
    retained: Sequence[int],
    preprocessing: Preprocessing,
    batch_size: int,
) -> Calibration:
    """Load the calibration images for a set of forgotten classes.

    Args:
        split: The training images.
        samples: Gives the samples of a class.
        forgotten: Classes to forget, at least one.
        retained: Classes to retain, at least one.
        preprocessing: What the network expects.
        batch_size: Largest number of images in a batch; ``CALIBRATION_BATCH`` if that is smaller.

    Raises:
        DataError: An image cannot be read.
    """
    each_forgotten = max(
        FORGOTTEN_IMAGES // len(forgotten),
        min(FORGOTTEN_IMAGES_EACH, MOST_FORGOTTEN_IMAGES // len(forgotten)),
        FEWEST_FORGOTTEN_IMAGES_EACH,
    )
    each_retained = max(
        RETAINED_IMAGES // len(retained),
        min(RETAINED_IMAGES_EACH, MOST_RETAINED_IMAGES // len(retained)),
        1,
    )
    size = min(CALIBRATION_BATCH, batch_size)
    return Calibration(
        forgotten=tuple(
            _batches(
                split,
                [samples(k).to_be_forgotten[:each_forgotten] for k in forgotten],
                preprocessing,
                size,
                {i for k in forgotten for i in samples(k).calibration},
            )
        ),
        retained=tuple(
            _batches(split, [samples(k).calibration[:each_retained] for k in retained], preprocessing, size)
        ),
    )


def _batches(
    split: Split,
    per_class: Sequence[Sequence[int]],
    preprocessing: Preprocessing,
    size: int,
    held_out: Collection[int] | None = None,
) -> Iterator[Batch]:
    """Yield batches in which the classes take turns."""
    labels = split.labels
    longest = max(len(indices) for indices in per_class)
    mixed = [indices[i] for i in range(longest) for indices in per_class if i < len(indices)]
    for start in range(0, len(mixed), size):
        part = mixed[start : start + size]
        images = load_images(split, part, preprocessing)
        apart = None if held_out is None else torch.tensor([i in held_out for i in part])
        yield Batch(images, torch.tensor([int(labels[i]) for i in part]), apart)
