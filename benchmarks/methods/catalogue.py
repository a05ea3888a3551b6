"""The methods of the comparison: what each is called, where it comes from, and the hyper-parameters it may be given.

The first setting of each is the published one. Published values are for other networks and other numbers of steps, so
the others are tried too, once for each network: on its first task, by the score that the paper of :mod:`reference`
chooses by, retained accuracy times what is not recognised of the forgotten, both on the *training* images of the task.
The setting with the best score, the earliest of equals, is kept for all tasks of that network. No test image is looked
at.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from .dampening import ssd
from .descent import fine_tune, negative_gradient
from .distillation import scrub
from .erasure import leace
from .noise import unsir
from .outputs import bias_shift, mask
from .passes import PassCounter
from .projections import last_layer, paper_update
from .prototypes import damp
from .saliency import salun
from .task import READ_BATCH, State, Task

Setting = Mapping[str, float]


@dataclass(frozen=True)
class Method:
    """A way to forget."""

    name: str
    """As tables call it."""
    run: Callable[..., State]
    """Takes a task and a setting."""
    source: str
    settings: Sequence[Setting] = field(default=({},))
    """Hyper-parameters to choose from, the published ones first; what is not named is as published."""
    gradients: bool = False
    """Whether it passes images back, often many times: then it is given fewer where there are many."""


@dataclass(frozen=True)
class Outcome:
    """Weights that a method made, and what they cost."""

    state: State
    seconds: float
    """Of processor time: other work on the machine does not count."""
    forward: int
    """Images passed through the whole network."""
    partial: int
    """Images passed through its last layers only."""
    backward: int
    """Images whose gradients were computed."""

    def cost(self) -> dict[str, Any]:
        """Return everything but the weights as plain JSON values."""
        return {name: value for name, value in vars(self).items() if name != "state"}


_RATES = (0.01, 0.03, 0.1)
METHODS: tuple[Method, ...] = (
    Method("logit mask", mask, "one row of the classifier"),
    Method("bias shift", bias_shift, "arXiv 2605.08730"),
    Method(
        "last layer only",
        last_layer,
        "arXiv 2312.00761, the classifier alone",
        [
            {"alpha_r": 100.0, "alpha_f": 3.0},
            *({"alpha_r": r, "alpha_f": f} for r in (10.0, 30.0) for f in (3.0, 30.0, 300.0)),
        ],
    ),
    Method("the paper's update", paper_update, "arXiv 2312.00761, fixed alphas"),
    Method("fine-tuning", fine_tune, "arXiv 2310.12508, FT", [{"rate": rate} for rate in _RATES], gradients=True),
    Method(
        "NegGrad+",
        negative_gradient,
        "arXiv 2302.09880",
        [{"rate": 1e-4, "weight": 0.9999}, *({"rate": rate, "weight": 0.95} for rate in _RATES)],
        gradients=True,
    ),
    Method("SSD", ssd, "arXiv 2308.07707", [{"alpha": alpha} for alpha in (10.0, 30.0, 100.0, 1000.0)], gradients=True),
    Method("SCRUB", scrub, "arXiv 2302.09880", [{"rate": rate} for rate in (5e-4, 2e-3, 1e-2, 3e-2)], gradients=True),
    Method("SalUn", salun, "arXiv 2310.12508", [{"rate": rate} for rate in (0.1, 0.03, 0.01)], gradients=True),
    Method(
        "UNSIR",
        unsir,
        "arXiv 2111.08947",
        [{"impair_rate": rate, "repair_rate": rate / 2} for rate in (0.02, 0.005, 0.001)],
        gradients=True,
    ),
    Method("DAMP", damp, "arXiv 2604.15166"),
    Method("LEACE", leace, "arXiv 2306.03819, on the classifier's input"),
)


def carry_out(method: Method, task: Task, setting: Setting) -> Outcome:
    """Let a method forget, and count what it costs. The same task and setting give the same weights."""
    began = time.process_time()
    # Dropout draws from torch's own source of random numbers.
    with PassCounter(task.network) as counter, torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        state = method.run(task, **setting)
    return Outcome(state, time.process_time() - began, counter.forward, counter.partial, counter.backward)


def scored_settings(method: Method, task: Task) -> list[tuple[Setting, float]]:
    """Return a method's settings with their scores on the training images of a task, the published one first."""
    return [(setting, score(task, carry_out(method, task, setting).state)) for setting in method.settings]


def best_setting(scored: Sequence[tuple[Setting, float]]) -> Setting:
    """Return the setting with the best score, the earliest of equals."""
    return max(scored, key=lambda one: one[1])[0]


def score(task: Task, state: Mapping[str, Tensor]) -> float:
    """Return ``acc_r (1 - acc_f)`` of some weights on a task's training images; 0 for weights that answer no number."""
    data = task.data
    with torch.inference_mode():
        logits = torch.cat(
            [functional_call(task.network, dict(state), (some.images,)) for some in data.batches(READ_BATCH)]
        )
    if not bool(torch.isfinite(logits).all()):
        return 0.0
    correct = (logits.argmax(1) == data.labels).double()
    inside = torch.isin(data.labels, torch.tensor(sorted(task.forgotten)))
    return float(correct[~inside].mean() * (1 - correct[inside].mean()))
