"""SalUn: train forgotten images towards random labels, changing only the weights that they depend on most.

Source: Fan et al., arXiv 2310.12508, equations 3 to 5; the mask keeps the parameters whose gradient of the forgotten
images' loss is at least the median. Hyper-parameters: those of the released code (SGD with momentum 0.9, weight decay
5e-4, ten epochs, learning rate 0.1, random labels before retained images in each epoch). A random label may be the true
one, as there. BatchNorm's running statistics are no parameters, and move.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from .task import ImageSet, State, Task, classifier_name, state_of, step


def salun(task: Task, *, epochs: int = 10, rate: float = 0.1, share: float = 0.5, batch: int = 256) -> State:
    """Relabel and train within the mask.

    Args:
        task: What to forget.
        epochs: Passes over all images.
        rate: Learning rate.
        share: Of the parameters that may change.
        batch: Images of a step.
    """
    free = saliency_mask(task.copy(), task.asked, share, batch)
    network, generator = task.copy().train(), task.generator()
    retained, asked = task.retained, task.asked
    held = task.state()
    classes = len(held[f"{classifier_name(network)}.bias"])
    optimiser = SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    for _ in range(epochs):
        relabelled = ImageSet(asked.images, torch.randint(classes, asked.labels.shape, generator=generator))
        for part in (relabelled, retained):
            for some in part.shuffled(batch, generator):
                step(optimiser, nn.functional.cross_entropy(network(some.images), some.labels))
                _restore(network, held, free)
    return state_of(network)


def saliency_mask(network: nn.Module, asked: ImageSet, share: float, batch: int) -> dict[str, Tensor]:
    """Return which parameters may change, bool tensors by name: those with the largest gradients of all layers."""
    total = {name: torch.zeros_like(part) for name, part in network.named_parameters()}
    for some in asked.batches(batch):
        network.zero_grad(set_to_none=True)
        loss: Any = nn.functional.cross_entropy(network(some.images), some.labels, reduction="sum")
        loss.backward()
        for name, part in network.named_parameters():
            if part.grad is not None:
                total[name] += part.grad
    sizes = torch.cat([one.abs().flatten() for one in total.values()])
    least = sizes.topk(max(1, int(len(sizes) * share))).values[-1]
    return {name: one.abs() >= least for name, one in total.items()}


def _restore(network: nn.Module, held: State, free: dict[str, Tensor]) -> None:
    # Weight decay and momentum would move a masked parameter although its gradient is ignored.
    with torch.no_grad():
        for name, part in network.named_parameters():
            part.copy_(torch.where(free[name], part, held[name]))
