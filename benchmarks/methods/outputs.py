"""Methods that touch nothing but the last biases: what "forgotten accuracy 0" costs when nothing is forgotten.

Whatever these two reach, a figure of accuracy alone cannot tell from forgetting. All features stay as they were.
"""

import torch

from .task import State, Task, answers, classifier_name

MASKED = -1e4
"""A logit that no other falls below; softmax makes a probability of exactly 0 of it."""


def mask(task: Task) -> State:
    """Let the network never answer a forgotten class: its row of the classifier becomes 0, its bias very small."""
    state, name = task.state(), classifier_name(task.network)
    rows = sorted(task.forgotten)
    state[f"{name}.weight"][rows] = 0.0
    state[f"{name}.bias"][rows] = MASKED
    return state


def bias_shift(task: Task, *, left: float = 0.01) -> State:
    """Lower the bias of each forgotten class until (nearly) none of its training images is answered with it.

    Source: BiasShift, arXiv 2605.08730, a diagnostic baseline: ``b_c <- b_c - shift``. The published shift is chosen
    for each network by hand; here it is the smallest that leaves the share ``left`` of the training images, the gate
    of the ledger.

    Args:
        task: What to forget.
        left: Share of a class's training images that may stay recognised.
    """
    state, name = task.state(), classifier_name(task.network)
    asked = task.asked
    logits = answers(task.network, asked.images)
    for k in sorted(task.forgotten):
        own = logits[asked.labels == k]
        others = own.clone()
        others[:, k] = -torch.inf
        ahead = own[:, k] - others.max(1).values
        needed = torch.quantile(ahead, 1 - left, interpolation="higher")
        # A little more than a draw, or the class would still win it.
        state[f"{name}.bias"][k] -= torch.clamp(needed + 1e-4, min=0.0)
    return state
