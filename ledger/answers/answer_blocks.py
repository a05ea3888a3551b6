"""In which batches the anchor weights answer calibration images: the same ones, whoever asks for which images.

The last bits of an answer depend on what else is in the batch. Which images a request looks at depends on what it
forgets. So that answers can be kept from request to request, the images of each class are cut into *blocks* at fixed
places of the class's own order, and a block is always answered as one batch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch

from ledger.images.sampling import ClassSamples

from .calibration import Batch
from .featured_answers import FeaturedAnswers

FIRST_CUTS = (1, 2, 4, 8)
"""Where the first blocks end. A thousand classes are looked at by an image each, ten classes by fifty."""
BLOCK_IMAGES = 8
"""Images of every further block: no request has more than seven images of a class answered that it does not need."""


@dataclass(frozen=True, order=True)
class AnswerBlock:
    """Some images of one class that are answered together."""

    class_index: int
    start: int
    """Place of the first in the class's order: held-out images, then those of its forget space."""
    indices: tuple[int, ...]
    """Of the training images."""

    @property
    def stop(self) -> int:
        """Place after the last."""
        return self.start + len(self.indices)


def blocks_of(class_index: int, samples: ClassSamples, wanted: int) -> Iterator[AnswerBlock]:
    """Yield the blocks that hold the first images of a class.

    Held-out images and others are never in one block: how many of the others there are depends on who asks.

    Args:
        class_index: The class.
        samples: Which of its images are used for what.
        wanted: Number of images from the beginning.
    """
    held = len(samples.calibration)
    order = samples.to_be_forgotten
    for begin, end in ((0, held), (held, len(order))):
        start = begin
        for cut in _cuts(end - begin):
            if start < wanted:
                yield AnswerBlock(class_index, start, order[start : begin + cut])
            start = begin + cut


def _cuts(count: int) -> Iterator[int]:
    yield from (cut for cut in FIRST_CUTS if cut < count)
    yield from range(FIRST_CUTS[-1] + BLOCK_IMAGES, count, BLOCK_IMAGES)
    if count:
        yield count


class AnchorAnswers:
    """What the anchor weights answer to calibration images, whenever that was computed.

    Args:
        blocks: The answers to each block.
    """

    def __init__(self, blocks: Mapping[AnswerBlock, FeaturedAnswers]) -> None:
        ordered = sorted(blocks)
        self._all = FeaturedAnswers.joined([blocks[block] for block in ordered]) if ordered else None
        self._rows = {index: row for row, index in enumerate(i for block in ordered for i in block.indices)}

    def of(self, batch: Batch) -> FeaturedAnswers:
        """Return the answers to one batch, whose images are all in the blocks."""
        if self._all is None or batch.indices is None:
            raise LookupError("these images are in no block")
        rows = torch.tensor([self._rows[index] for index in batch.indices])
        held_out = torch.ones(len(rows), dtype=torch.bool) if batch.held_out is None else batch.held_out
        features, inner = (None if one is None else one[rows] for one in (self._all.features, self._all.inner))
        return FeaturedAnswers(self._all.logits[rows], features, batch.labels, held_out, inner)


def wanted_blocks(samples: Callable[[int], ClassSamples], counts: Iterable[tuple[int, int]]) -> tuple[AnswerBlock, ...]:
    """Return the blocks that hold the first images of several classes, in class order.

    Args:
        samples: Gives the samples of a class.
        counts: Class indices, each with the number of images that are wanted of it.
    """
    return tuple(block for k, count in sorted(counts) for block in blocks_of(k, samples(k), count))
