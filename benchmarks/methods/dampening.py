"""SSD: dampen the parameters that matter more to the forgotten images than to all of them.

Source: Foster, Schoepf, Brintrup, arXiv 2308.07707, equations 3 to 5: with ``I_D`` and ``I_f`` the diagonals of the
Fisher information on all images and on the forgotten ones, every parameter with ``I_f > alpha I_D`` is multiplied by
``min(lambda I_D / I_f, 1)``. The released code takes squares of gradients of batches rather than of images; so do we.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .task import ImageSet, State, Task

BATCH = 64


def ssd(task: Task, *, alpha: float = 10.0, dampening: float = 1.0) -> State:
    """Dampen. Hyper-parameters are those published for ResNet-18 on CIFAR.

    Args:
        task: What to forget.
        alpha: How much more a parameter has to matter to the forgotten images.
        dampening: The paper's lambda.
    """
    network = task.copy()
    asked, whole = importance(network, task.asked), importance(network, task.data)
    state = task.state()
    for name in asked:
        chosen = asked[name] > alpha * whole[name]
        factor = (dampening * whole[name][chosen] / asked[name][chosen]).clamp_max(1.0)
        state[name][chosen] *= factor
    return state


def importance(network: nn.Module, images: ImageSet) -> dict[str, Tensor]:
    """Return the mean square of each parameter's gradient, over batches, by name."""
    total = {name: torch.zeros_like(part) for name, part in network.named_parameters()}
    batches = list(images.batches(BATCH))
    for batch in batches:
        network.zero_grad(set_to_none=True)
        loss: Any = nn.functional.cross_entropy(network(batch.images), batch.labels)
        loss.backward()
        for name, part in network.named_parameters():
            if part.grad is not None:
                total[name] += part.grad.square() / len(batches)
    return total
