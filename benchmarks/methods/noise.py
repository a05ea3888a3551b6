"""UNSIR: impair with noise that is as wrong as can be for a class, then repair with retained images.

Source: Tarun et al., arXiv 2111.08947, algorithm 1. Hyper-parameters: those of the released notebook: 40 steps of Adam
at 0.1 on a batch of noise with a penalty of 0.1 on its size, an epoch of Adam at 0.02 on 20 copies of the noise and
1,000 retained images a class, an epoch of Adam at 0.01 on the retained ones. The notebook labels all noise as class 0,
the first forgotten one there; here each class's noise has its own label, as the paper says.
"""

import torch
from torch import Tensor, nn
from torch.optim import Adam

from .task import ImageSet, State, Task, state_of, step

STEPS, NOISE_RATE, PENALTY = 40, 0.1, 0.1
COPIES, EACH = 20, 1000


def unsir(task: Task, *, impair_rate: float = 0.02, repair_rate: float = 0.01, batch: int = 256) -> State:
    """Impair and repair.

    Args:
        task: What to forget.
        impair_rate: Learning rate of the epoch with noise.
        repair_rate: Of the epoch without.
        batch: Images of a step, and of noise.
    """
    generator = task.generator()
    kept = task.retained.first_of_each(EACH)
    # No more noise than there are retained images, or the copies would drown a small set.
    copies = max(1, min(COPIES, len(kept) // (batch * len(task.forgotten))))
    noisy = [error_maximising_noise(task, k, batch, generator) for k in sorted(task.forgotten)] * copies
    images = torch.cat([kept.images, *(one.images for one in noisy)])
    labels = torch.cat([kept.labels, *(one.labels for one in noisy)])
    network = task.copy().train()
    for data, rate in ((ImageSet(images, labels), impair_rate), (kept, repair_rate)):
        optimiser = Adam(network.parameters(), lr=rate)
        for some in data.shuffled(batch, generator):
            step(optimiser, nn.functional.cross_entropy(network(some.images), some.labels))
    return state_of(network)


def error_maximising_noise(task: Task, label: int, count: int, generator: torch.Generator) -> ImageSet:
    """Return images of noise that the original network takes for anything but a class, with that class's label."""
    noise = torch.randn(count, *task.data.images.shape[1:], generator=generator).requires_grad_()
    labels = torch.full((count,), label)
    optimiser = Adam([noise], lr=NOISE_RATE)
    network = task.copy()
    for _ in range(STEPS):
        size: Tensor = noise.square().flatten(1).sum(1).mean()
        step(optimiser, PENALTY * size - nn.functional.cross_entropy(network(noise), labels))
    return ImageSet(noise.detach(), labels)
