"""SCRUB: a student that obeys its teacher, the original network, on retained images and disobeys it on forgotten ones.

Source: Kurmanji et al., arXiv 2302.09880, section 3 and algorithm 1. Hyper-parameters: those of the released code
for VGG.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import SGD

from .task import State, Task, state_of, step


@dataclass(frozen=True)
class ScrubCourse:
    """What the student goes through."""

    epochs: int = 10
    max_epochs: int = 2
    """The first epochs, which begin with a pass over the forgotten images away from the teacher."""
    rate: float = 5e-4
    decay_after: tuple[int, ...] = (3, 6, 9)
    """Epochs after which the learning rate is a tenth of what it was."""
    temperature: float = 4.0
    alpha: float = 0.01
    """Weight of the teacher's answers to retained images."""
    gamma: float = 0.99
    """Weight of their labels."""
    batch: int = 128


def scrub(task: Task, *, rate: float = ScrubCourse.rate) -> State:
    """Let the student take turns between the two kinds of images. SGD with momentum 0.9 and weight decay 5e-4."""
    course = ScrubCourse(rate=rate)
    teacher, student, generator = task.network, task.copy().train(), task.generator()
    retained, asked = task.retained, task.asked
    optimiser = SGD(student.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    for epoch in range(1, course.epochs + 1):
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.1 ** sum(epoch > last for last in course.decay_after)
        if epoch <= course.max_epochs:
            for some in asked.shuffled(course.batch, generator):
                step(optimiser, -disagreement(student(some.images), _told(teacher, some.images), course.temperature))
        for some in retained.shuffled(course.batch, generator):
            logits = student(some.images)
            obeying = disagreement(logits, _told(teacher, some.images), course.temperature)
            right = nn.functional.cross_entropy(logits, some.labels)
            step(optimiser, course.alpha * obeying + course.gamma * right)
    return state_of(student)


def disagreement(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Return the mean divergence KL(teacher || student) of softened answers (n, classes), times temperature squared."""
    own = nn.functional.log_softmax(logits / temperature, 1)
    theirs = nn.functional.softmax(taught / temperature, 1)
    return nn.functional.kl_div(own, theirs, reduction="batchmean") * temperature**2


def _told(teacher: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        answer: Tensor = teacher(images)
    return answer
