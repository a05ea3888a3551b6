"""Images of a split that an evaluator passes through networks of its own, batch by batch."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ledger.hookspecs import SplitName

MOST_HELD = 2**30
"""Most bytes of images that are kept in memory; more are read again for every batch."""

Reader = Callable[[SplitName, Sequence[int]], Tensor]
"""What :attr:`~ledger.hookspecs.EvaluationInput.images` holds."""


class SampledImages:
    """Some images of a split, with their labels.

    Args:
        read: Reads images.
        split: Their split.
        positions: Which of the split's answers they belong to.
        labels: The split's labels, int64 (n,).
    """

    def __init__(self, read: Reader, split: SplitName, positions: np.ndarray, labels: np.ndarray) -> None:
        self._read, self._split = read, split
        self.positions = positions
        self.labels = torch.from_numpy(labels[positions].copy())
        self._held: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.positions)

    def batch(self, picked: Sequence[int]) -> Tensor:
        """Return the images of these numbers, float32 (k, channels, height, width)."""
        if self._held is None and len(self):
            first = self._read(self._split, [int(self.positions[0])])
            if first.nbytes * len(self) <= MOST_HELD:
                self._held = self._read(self._split, [int(position) for position in self.positions])
        if self._held is not None:
            return self._held[list(picked)]
        return self._read(self._split, [int(self.positions[one]) for one in picked])


def evenly(labels: np.ndarray, classes: Collection[int], per_class: int, most: int, seed: int) -> np.ndarray:
    """Return positions of images of some classes, as many of each class where there are as many, sorted.

    Args:
        labels: int64 (n,).
        classes: The classes.
        per_class: Most images of a class.
        most: Most images in all; where classes are more, some have none.
        seed: Which images.
    """
    generator = np.random.default_rng(seed)
    each = [generator.permutation(np.flatnonzero(labels == k))[:per_class] for k in sorted(classes)]
    # Round by round one of each class, so that what is cut off is cut off evenly.
    rounds = [(rank, turn, position) for turn, found in enumerate(each) for rank, position in enumerate(found)]
    return np.array(sorted(position for _, _, position in sorted(rounds)[:most]), dtype=np.int64)


def answers_of(module: nn.Module, images: SampledImages, batch_size: int) -> Tensor:
    """Return a network's logits, float32 (n, classes), on the processor."""
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    with torch.no_grad():
        parts = [
            module(images.batch(range(start, min(start + batch_size, len(images)))).to(device)).float().cpu()
            for start in range(0, len(images), batch_size)
        ]
    return torch.cat(parts)


def class_shares(logits: Tensor, labels: Tensor) -> dict[int, float]:
    """Return the share of right answers of each class that has images."""
    right = logits.argmax(dim=1) == labels
    return {int(k): float(right[labels == k].double().mean()) for k in sorted(set(labels.tolist()))}
