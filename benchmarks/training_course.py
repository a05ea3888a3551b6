"""How the reference networks of these benchmarks are trained, whichever classes they are shown.

A network that never saw a class is compared with one that saw it and forgot it. The two may differ in nothing else, so
both go through :func:`train`. ``demonstration`` does what :func:`ledger.testing.training.train_classifier` does, step
for step; ``photographs`` is the usual course for small photographs.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

RISE = 0.3
"""Share of the steps in which the learning rate rises to its peak; then it falls along a cosine. Torch's default."""
SHIFT = 2
"""Most pixels by which a batch of scans is shifted, in both directions."""
MARGIN = 4
"""Pixels added on each side of a photograph before it is cropped to its size again."""


@dataclass(frozen=True)
class Course:
    """What a network goes through."""

    optimiser: str
    """``AdamW`` or ``SGD``, the latter with Nesterov's momentum of 0.9."""
    peak: float
    """Largest learning rate of the one-cycle schedule."""
    weight_decay: float
    label_smoothing: float
    batch: int
    epochs: int
    augmentation: str
    """A key of :data:`AUGMENTATIONS`."""

    @property
    def last_rate(self) -> float:
        """Learning rate at which the last epoch begins.

        The very last step's is ten thousand times smaller than the first step's, and would change nothing.
        """
        fallen = max(0.0, ((self.epochs - 1) / self.epochs - RISE) / (1 - RISE))
        return self.peak * (1 + math.cos(math.pi * fallen)) / 2


def train(
    module: nn.Module,
    images: Tensor,
    labels: Tensor,
    course: Course,
    *,
    seed: int,
    on_epoch: Callable[[], None] = lambda: None,
) -> None:
    """Train a network from scratch; leave it in evaluation mode. Same seed, machine and threads: same weights.

    Args:
        module: Freshly built; trained in place.
        images: Preprocessed, float32 (n, channels, height, width).
        labels: Class indices (n,).
        course: What to do.
        seed: Of the order of images and of what is done with them.
        on_epoch: Called after each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = _optimiser(module, course, course.peak)
    steps = -(-len(labels) // course.batch)
    schedule = OneCycleLR(optimiser, course.peak, epochs=course.epochs, steps_per_epoch=steps, pct_start=RISE)
    for _ in range(course.epochs):
        _epoch(module, images, labels, course, generator, optimiser, schedule.step)
        on_epoch()


def train_on(
    module: nn.Module, images: Tensor, labels: Tensor, course: Course, *, seed: int, rate: float | None = None
) -> None:
    """Train a network that is trained already for one more epoch, at a constant learning rate.

    Args:
        module: Trained in place, and left in evaluation mode.
        images: As for :func:`train`.
        labels: As for :func:`train`.
        course: What it went through.
        seed: As for :func:`train`.
        rate: Learning rate; None: the course's last one.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = _optimiser(module, course, course.last_rate if rate is None else rate)
    _epoch(module, images, labels, course, generator, optimiser)


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return a batch (n, channels, height, width), all of it shifted by the same few pixels, around the edges."""
    down, across = (int(torch.randint(-SHIFT, SHIFT + 1, (), generator=generator)) for _ in range(2))
    return torch.roll(images, (down, across), dims=(2, 3))


def cropped_and_flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return a batch (n, channels, height, width), each image with a margin, cropped to its size, half of them flipped.

    The margin is zero, which is the mean colour after preprocessing.
    """
    n, _, height, width = images.shape
    padded = nn.functional.pad(images, (MARGIN,) * 4)
    top, left = (torch.randint(2 * MARGIN + 1, (n, 1), generator=generator) for _ in range(2))
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    flip = torch.rand(n, 1, generator=generator) < 0.5
    columns = torch.where(flip, columns.flip(1), columns)
    # Channels come last where indices stand on both sides of a slice.
    picked = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()


AUGMENTATIONS: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "shift": shifted,
    "crop and flip": cropped_and_flipped,
}


def demonstration(epochs: int) -> Course:
    """Return the course of the demonstration's network, for so many epochs."""
    return Course("AdamW", 4e-3, 0.05, 0.2, 64, epochs, "shift")


def photographs(epochs: int) -> Course:
    """Return the course of a convolutional network on photographs of 32 pixels, for so many epochs."""
    return Course("SGD", 0.05, 5e-4, 0.0, 128, epochs, "crop and flip")


def _optimiser(module: nn.Module, course: Course, rate: float) -> Optimizer:
    parameters: Iterable[Any] = module.parameters()
    if course.optimiser == "AdamW":
        return AdamW(parameters, lr=rate, weight_decay=course.weight_decay)
    return SGD(parameters, lr=rate, momentum=0.9, nesterov=True, weight_decay=course.weight_decay)


def _epoch(
    module: nn.Module,
    images: Tensor,
    labels: Tensor,
    course: Course,
    generator: torch.Generator,
    optimiser: Optimizer,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    augment = AUGMENTATIONS[course.augmentation]
    loss_of = nn.CrossEntropyLoss(label_smoothing=course.label_smoothing)
    module.train()
    for picked in torch.randperm(len(labels), generator=generator).split(course.batch):  # type: ignore[no-untyped-call]
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(module(augment(images[picked], generator)), labels[picked])
        loss.backward()
        optimiser.step()
        after_step()
    module.eval()
