"""The update of "Deep Unlearning" at fixed alphas, of all layers and of the last one alone.

Source: Kodge, Saha, Roy, arXiv 2312.00761, as :mod:`reference` computes it: 900 retain and 900 forget images where
there are so many, alphas 100 and 3 on CIFAR-10, one crop of each convolution's input.
"""

from reference import unlearn

from .task import State, Task, classifier_name

IMAGES = 900
"""Of the retained classes together, and of the forgotten ones: what the published protocol takes."""


def paper_update(task: Task, *, alpha_r: float = 100.0, alpha_f: float = 3.0) -> State:
    """Project every convolution and linear layer."""
    return _update(task, alpha_r, alpha_f, None)


def last_layer(task: Task, *, alpha_r: float = 100.0, alpha_f: float = 3.0) -> State:
    """Project the classifier alone, which leaves all features as they were."""
    return _update(task, alpha_r, alpha_f, (classifier_name(task.network),))


def _update(task: Task, alpha_r: float, alpha_f: float, only: tuple[str, ...] | None) -> State:
    retained, asked = task.retained, task.asked
    each = max(1, IMAGES // len(retained.classes))
    return unlearn(
        task.network,
        retained.first_of_each(each).images,
        asked.images[:IMAGES],
        alpha_r=alpha_r,
        alpha_f=alpha_f,
        seed=task.seed,
        only=only,
    ).state
