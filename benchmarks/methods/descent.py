"""Methods that go on training: on retained images alone, or with steps up the loss of forgotten ones beside them.

None of them augments images: what is published for these methods differs in that, and is not what makes them forget.
"""

from itertools import cycle

from torch import nn
from torch.optim import SGD

from .task import State, Task, state_of, step

loss_of = nn.functional.cross_entropy


def fine_tune(task: Task, *, epochs: int = 10, rate: float = 0.01, batch: int = 256) -> State:
    """Train on the retained images, and hope that the others are forgotten.

    Hyper-parameters: those of the baseline FT in the released code of SalUn (arXiv 2310.12508): SGD with momentum 0.9
    and weight decay 5e-4, ten epochs.
    """
    network, generator, retained = task.copy().train(), task.generator(), task.retained
    optimiser = SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    for _ in range(epochs):
        for some in retained.shuffled(batch, generator):
            step(optimiser, loss_of(network(some.images), some.labels))
    return state_of(network)


def negative_gradient(
    task: Task, *, epochs: int = 5, rate: float = 1e-4, weight: float = 0.9999, batch: int = 128
) -> State:
    """NegGrad+: descend on retained images and ascend on forgotten ones in the same steps.

    Source: Kurmanji et al., arXiv 2302.09880, section 4, ``weight * L(retained) - (1 - weight) * L(forgotten)``.
    Hyper-parameters: those of the released code for VGG: SGD without momentum, weight decay 5e-4.

    Args:
        task: What to forget.
        epochs: Passes over the retained images.
        rate: Learning rate.
        weight: Of the retained images.
        batch: Images of each kind in a step.
    """
    network, generator = task.copy().train(), task.generator()
    retained, asked = task.retained, task.asked
    optimiser = SGD(network.parameters(), lr=rate, weight_decay=5e-4)
    for _ in range(epochs):
        others = cycle(asked.shuffled(batch, generator))
        for some, other in zip(retained.shuffled(batch, generator), others, strict=False):
            keeping = loss_of(network(some.images), some.labels)
            forgetting = loss_of(network(other.images), other.labels)
            step(optimiser, weight * keeping - (1 - weight) * forgetting)
    return state_of(network)
