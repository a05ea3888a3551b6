"""Train a copy of a network a little further, and see after some steps what it answers.

The optimiser is that with which vision transformers are fine-tuned (Dosovitskiy et al., arXiv 2010.11929, appendix
B.1.1): SGD with momentum 0.9, gradients clipped to norm 1. Clipping makes one rate fit networks of any size: no step is
longer than the rate. Batch normalisation and dropout stay in evaluation mode.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from torch import nn

from .own_randomness import own_randomness
from .sampled_images import SampledImages, answers_of, class_shares

MOMENTUM = 0.9
LONGEST_GRADIENT = 1.0
BATCH = 32
Picked = tuple[Sequence[int], Sequence[int]]
"""Numbers of images of a batch: of retained classes, and of forgotten ones."""


@dataclass(frozen=True)
class Standing:
    """What a network answers to test images after some steps; None for images that are not there."""

    step: int
    forgotten: float | None
    """Share of right answers of the forgotten class that is recognised best."""
    forgotten_mean: float | None
    """Mean of that share over the forgotten classes."""
    retained: float | None
    """Mean of that share over the retained classes."""


@dataclass(frozen=True)
class AskedImages:
    """Test images of the forgotten classes, and of some of the retained ones."""

    forgotten: SampledImages
    retained: SampledImages
    batch_size: int

    def standing(self, module: nn.Module, step: int) -> Standing:
        """Return what a network answers now."""
        gone, kept = (
            list(class_shares(answers_of(module, images, self.batch_size), images.labels).values())
            if len(images)
            else []
            for images in (self.forgotten, self.retained)
        )
        return Standing(step, max(gone, default=None), _mean(gone), _mean(kept))


def tuned(
    module: nn.Module,
    retained: SampledImages,
    forgotten: SampledImages,
    batches: Iterator[Picked],
    checkpoints: Sequence[int],
    rate: float,
    test: AskedImages,
    seed: int,
) -> list[Standing]:
    """Fine-tune a network, and return what it answers at each checkpoint, as far as the loss stays finite.

    Args:
        module: A copy; changed in place.
        retained: Training images of retained classes.
        forgotten: Training images of forgotten classes.
        batches: Which of them each step takes.
        checkpoints: Numbers of steps, ascending.
        rate: Learning rate.
        test: What it is asked.
        seed: Of layers that draw.
    """
    standings: list[Standing] = []
    with own_randomness(seed):
        module.eval().requires_grad_(requires_grad=True)
        optimiser = torch.optim.SGD(module.parameters(), lr=rate, momentum=MOMENTUM)
        step = 0
        for checkpoint in checkpoints:
            while step < checkpoint:
                if not _stepped(module, optimiser, retained, forgotten, next(batches)):
                    return standings
                step += 1
            standings.append(test.standing(module, step))
    return standings


def retained_batches(count: int, seed: int) -> Iterator[Picked]:
    """Yield batches of retained images without end: all ``count`` in random order, then all in another."""
    generator = np.random.default_rng(seed)
    size = min(BATCH, count)
    while True:
        order = generator.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size].tolist(), ()


def mixed_batches(count: int, shots: int, seed: int) -> Iterator[Picked]:
    """Yield batches without end, half of retained images and half of a few forgotten ones.

    Trained on forgotten images alone, any network soon answers nothing else, whether it knew the class or not.
    """
    generator = np.random.default_rng(seed)
    half = BATCH // 2
    while True:
        kept = generator.choice(count, min(half, count), replace=False)
        # Fewer than half a batch are repeated as evenly as possible; of more, others are taken at each step.
        few = generator.permutation(max(half, shots))[:half] % shots if shots else np.arange(0)
        yield kept.tolist(), few.tolist()


def _stepped(
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    retained: SampledImages,
    forgotten: SampledImages,
    picked: Picked,
) -> bool:
    """Take one step, and say so; none if loss or gradient is not finite, as behind a mask."""
    parts = [(images, numbers) for images, numbers in zip((retained, forgotten), picked, strict=True) if len(numbers)]
    device = next(module.parameters()).device
    batch = torch.cat([images.batch(numbers) for images, numbers in parts]).to(device)
    labels = torch.cat([images.labels[list(numbers)] for images, numbers in parts]).to(device)
    optimiser.zero_grad(set_to_none=True)
    loss: torch.Tensor = nn.functional.cross_entropy(module(batch), labels)
    if not isfinite(loss.item()):
        return False
    loss.backward()  # type: ignore[no-untyped-call]
    if not isfinite(nn.utils.clip_grad_norm_(module.parameters(), LONGEST_GRADIENT).item()):
        return False
    optimiser.step()
    return True


def _mean(shares: Sequence[float]) -> float | None:
    return float(np.mean(shares)) if shares else None
