"""Train a small classifier: the network of the demonstration, or of a test."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ledger.domain.settings import Preprocessing
from ledger.hookspecs import DataSource
from ledger.images.loading import load_images

EPOCHS = 16
BATCH_IMAGES = 64
PEAK_LEARNING_RATE = 4e-3
LABEL_SMOOTHING = 0.2
"""Share of each label that is spread over all classes. It separates the classes' features, so that one class can be
forgotten without the others."""


def train_classifier(
    module: nn.Module,
    source: DataSource,
    preprocessing: Preprocessing,
    *,
    seed: int,
    epochs: int = EPOCHS,
    on_epoch: Callable[[], None] = lambda: None,
) -> float:
    """Train a network from scratch on a data source's training split and return its test accuracy.

    Images are shifted by up to two pixels. The optimiser is AdamW with a one-cycle schedule. The same seed, machine and
    number of threads give the same weights.

    Args:
        module: Freshly built; trained in place and left in evaluation mode.
        source: Small enough to hold in memory.
        preprocessing: What the network takes.
        seed: Seed of the order of images and of their shifts.
        epochs: Passes over the training split.
        on_epoch: Called after each.
    """
    generator = torch.Generator().manual_seed(seed)
    images = load_images(source.train, range(len(source.train.labels)), preprocessing)
    labels = torch.tensor(source.train.labels)
    steps = -(-len(labels) // BATCH_IMAGES)
    optimiser = torch.optim.AdamW(module.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, epochs=epochs, steps_per_epoch=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    module.train()
    for _ in range(epochs):
        for picked in torch.randperm(len(labels), generator=generator).split(BATCH_IMAGES):  # type: ignore[no-untyped-call]
            optimiser.zero_grad(set_to_none=True)
            loss = loss_of(module(_shifted(images[picked], generator)), labels[picked])
            loss.backward()
            optimiser.step()
            schedule.step()
        on_epoch()
    module.eval()
    return accuracy(module, source, preprocessing)


def accuracy(module: nn.Module, source: DataSource, preprocessing: Preprocessing) -> float:
    """Return a network's share of correct answers on the test split."""
    images = load_images(source.test, range(len(source.test.labels)), preprocessing)
    with torch.inference_mode():
        predicted = module(images).argmax(1)
    return float((predicted == torch.tensor(source.test.labels)).double().mean())


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    down, across = (int(torch.randint(-2, 3, (), generator=generator)) for _ in range(2))
    return torch.roll(images, (down, across), dims=(2, 3))
