"""Choose calibration images: enough of each class to judge it, few enough to be quick."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from ledger.domain.settings import Preprocessing
from ledger.hookspecs import Split
from ledger.images.loading import load_images
from ledger.images.sampling import ClassSamples, seeded_generator
from ledger.networks.layouts import laid_out, memory_order

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
ALIKE_IMAGES = 128
"""Where there are more than ``RETAINED_IMAGES``: those of the classes that the forgotten ones resemble most, by which
candidates are compared."""
COMPARED_IMAGES = 128
"""Likewise: the other retained images by which they are compared."""
FREQUENT_IMAGES = 384
"""Likewise: the other retained images for which activations are recorded. Seldom is a candidate shown more."""


@dataclass(frozen=True, kw_only=True)
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
    seed: int = 0,
    shares: Mapping[int, float] | None = None,
) -> SampledCalibration:
    """Load the calibration images for a set of forgotten classes.

    Args:
        split: The training images.
        samples: Gives the samples of a class.
        forgotten: Classes to forget, at least one.
        retained: Classes to retain, at least one.
        preprocessing: What the network expects.
        batch_size: Largest number of images in a batch; ``CALIBRATION_BATCH`` if that is smaller.
        seed: Decides the order of the retained images.
        shares: How much the forgotten classes resemble each retained one; None if nobody knows.

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
    drawn, alike = _drawn_and_alike({k: wanted[k] for k in retained}, shares or {}, seed)

    batches = partial(_batches, split, preprocessing=preprocessing, size=size)
    turns = [wanted[k] for k in forgotten]
    mixed = [indices[i] for i in range(max(map(len, turns))) for indices in turns if i < len(indices)]
    frequent, compared = (math.ceil(images / size) for images in (FREQUENT_IMAGES, COMPARED_IMAGES))
    own, others = tuple(batches(drawn)), tuple(batches(alike))
    if alike:
        own = tuple(replace(batch, frequent=place < frequent) for place, batch in enumerate(own))
    judged = tuple(batches(mixed, held_out=held_out))
    shown = (*judged, *own, *others)
    pixels = {i: one for batch in shown for i, one in zip(batch.indices or (), batch.images, strict=True)}

    def load(block: AnswerBlock) -> Batch:
        # Nearly always all of them are images that candidates are shown.
        known = all(i in pixels for i in block.indices)
        images = (
            torch.stack([pixels[i] for i in block.indices])
            if known
            else load_images(split, block.indices, preprocessing)
        )
        labels = torch.full((len(block.indices),), block.class_index)
        return Batch(laid_out(images, memory_order(judged[0].images)), labels, indices=block.indices)

    return SampledCalibration(
        forgotten=judged,
        retained=(*own, *others),
        alike=len(others),
        compared=compared if alike else None,
        blocks=wanted_blocks(samples, [(k, len(indices)) for k, indices in wanted.items()]),
        load=load,
    )


def _drawn_and_alike(
    wanted: Mapping[int, Sequence[int]], shares: Mapping[int, float], seed: int
) -> tuple[list[int], list[int]]:
    """Return the retained images to draw, in a random order, and apart from them those of the classes most resembled.

    Each image has a random number of its own, so the order does not depend on which classes are retained.

    Args:
        wanted: The images of each retained class.
        shares: How much the forgotten classes resemble it.
        seed: Decides the order.
    """
    alike: list[int] = []
    if shares and sum(map(len, wanted.values())) > RETAINED_IMAGES:
        for k in sorted(wanted, key=lambda k: (-shares.get(k, 0.0), k)):
            if len(alike) >= ALIKE_IMAGES:
                break
            alike += wanted[k]
    places = {
        index: float(place)
        for k, indices in wanted.items()
        for index, place in zip(indices, seeded_generator("order", seed, k).random(len(indices)), strict=True)
    }
    ordered = sorted(places, key=lambda index: (places[index], index))
    apart = set(alike)
    return [i for i in ordered if i not in apart], [i for i in ordered if i in apart]


def _batches(
    split: Split,
    order: Sequence[int],
    *,
    preprocessing: Preprocessing,
    size: int,
    held_out: Collection[int] | None = None,
) -> Iterator[Batch]:
    labels = split.labels
    for start in range(0, len(order), size):
        part = order[start : start + size]
        images = load_images(split, part, preprocessing)
        apart = None if held_out is None else torch.tensor([i in held_out for i in part])
        yield Batch(images, torch.tensor([int(labels[i]) for i in part]), apart, tuple(part))
