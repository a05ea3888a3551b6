"""Choose calibration images: enough of each class to judge it, few enough to be quick."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch

from ledger.domain.settings import Preprocessing
from ledger.hookspecs import Split
from ledger.images.loading import load_images
from ledger.images.sampling import ClassSamples

from .answer_blocks import AnswerBlock, wanted_blocks
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


@dataclass(frozen=True)
class SampledCalibration(Calibration):
    """Calibration images of a data source."""

    blocks: tuple[AnswerBlock, ...]
    """In what they are answered by the anchor weights: every image is in one, and some of them hold a few more."""
    load: Callable[[AnswerBlock], Batch]
    """Loads the images of a block."""


def sample_calibration(
    split: Split,
    samples: Callable[[int], ClassSamples],
    *,
    forgotten: Sequence[int],
    retained: Sequence[int],
    preprocessing: Preprocessing,
    batch_size: int,
) -> SampledCalibration:
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
    wanted = {
        **{k: samples(k).to_be_forgotten[:each_forgotten] for k in forgotten},
        **{k: samples(k).calibration[:each_retained] for k in retained},
    }
    held_out = {i for k in forgotten for i in samples(k).calibration}

    def load(block: AnswerBlock) -> Batch:
        labels = torch.full((len(block.indices),), block.class_index)
        return Batch(load_images(split, block.indices, preprocessing), labels, indices=block.indices)

    return SampledCalibration(
        forgotten=tuple(_batches(split, [wanted[k] for k in forgotten], preprocessing, size, held_out)),
        retained=tuple(_batches(split, [wanted[k] for k in retained], preprocessing, size)),
        blocks=wanted_blocks(samples, [(k, len(indices)) for k, indices in wanted.items()]),
        load=load,
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
        yield Batch(images, torch.tensor([int(labels[i]) for i in part]), apart, tuple(part))
