"""Reference models of a membership attack: small trainings from scratch, each on half of the images.

Models come in pairs: one is trained on a random half of each class, the other on what is left. So every training image
has one model in each pair that never saw it. Images that no model saw are given a half by lot as well, and are looked
at with one model of each pair too; else the mere number of models would tell members from others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .own_randomness import own_randomness
from .sampled_images import SampledImages

EPOCHS = 30
MOST_STEPS = 150
"""Most steps of one model; where that is less than the epochs, they are fewer."""
BATCH = 32
PEAK_RATE = 3e-3
"""Learning rate of AdamW at the top of a one-cycle schedule."""
WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class ReferenceModel:
    """A trained model, and what it took."""

    module: nn.Module
    seed: int
    epochs: int
    images: int
    """Different ones that it was trained on."""
    passes: int
    """Images that went forward and backward through it."""


def halves(labels: np.ndarray, pairs: int, generator: np.random.Generator) -> np.ndarray:
    """Return for each pair of models a half, 0 or 1, of every image, int64 (pairs, n); even within each class."""
    sides = np.zeros((pairs, len(labels)), dtype=np.int64)
    for pair in range(pairs):
        for k in np.unique(labels):
            positions = generator.permutation(np.flatnonzero(labels == k))
            # Which half gets the odd image is left to chance.
            sides[pair, positions] = (np.arange(len(positions)) + generator.integers(2)) % 2
    return sides


def trained(
    fresh: Callable[[int], nn.Module],
    images: SampledImages,
    picked: np.ndarray,
    seed: int,
    *,
    epochs: int = EPOCHS,
    most_steps: int = MOST_STEPS,
) -> ReferenceModel:
    """Train a network from scratch on some images.

    AdamW with a one-cycle schedule, without augmentation and smoothing: reference models should remember what they saw,
    as the attacked network does.

    Args:
        fresh: Builds the network from a seed.
        images: All images.
        picked: Numbers of those to train on.
        seed: Of the weights and of the order of images.
        epochs: Most passes over the images.
        most_steps: Most steps.
    """
    steps = max(1, -(-len(picked) // BATCH))
    epochs = max(1, min(epochs, most_steps // steps))
    module = fresh(seed)
    passes = 0
    with own_randomness(seed) as generator:
        module.requires_grad_(requires_grad=True).train()
        device = next(module.parameters()).device
        optimiser = torch.optim.AdamW(module.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=epochs * steps + 1)
        numbers = torch.from_numpy(picked)
        for _ in range(epochs):
            for part in torch.randperm(len(numbers), generator=generator).split(BATCH):  # type: ignore[no-untyped-call]
                # Batch normalisation cannot tell the variance of one image.
                if len(part) == 1 < len(numbers):
                    continue
                chosen = numbers[part]
                optimiser.zero_grad(set_to_none=True)
                logits = module(images.batch(chosen.tolist()).to(device))
                loss: torch.Tensor = nn.functional.cross_entropy(logits, images.labels[chosen].to(device))
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                passes += len(part)
        module.eval()
    return ReferenceModel(module, seed, epochs, len(picked), passes)
