"""DAMP: take away from every layer what the mean of a forgotten class has beside the means of the others.

Source: Hatami, Aalishah, Monosov, arXiv 2604.15166: at each layer, with the class means of what flows into it, the
direction ``d_f = mu_f - R R^+ mu_f`` of every forgotten class, ``Q`` an orthonormal basis of them, and
``W <- W (I - a_l Q Q^T)``; biases stay. No code was published. ``a_l`` grows with depth and with how well a binary
probe tells forgotten from retained; this is our reading of it: ``(l / L) (2 * accuracy - 1)``, with the balanced
accuracy of the nearer of two means on the training images. A convolution's input is averaged over positions, and ``Q``
is of channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .task import State, Task, answers

NEGLIGIBLE = 1e-3
"""Share of a mean below which what is left of it counts as rounding: the retained means already span the layer."""


def damp(task: Task) -> State:
    """Remove the forgotten directions of all layers, by how deep they are and how much they tell.

    Raises:
        ValueError: A layer with groups, which has no one space of inputs.
    """
    layers = {n: part for n, part in task.network.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)}
    if any(isinstance(part, nn.Conv2d) and part.groups != 1 for part in layers.values()):
        raise ValueError("this method is not defined for convolutions with groups")
    seen = mean_inputs(task, layers)
    labels = task.data.labels
    # In the order in which images reach them.
    state = task.state()
    for position, (name, rows) in enumerate(seen.items(), 1):
        means = {k: rows[labels == k].mean(0) for k in task.data.classes}
        kept = torch.stack([mean for k, mean in means.items() if k not in task.forgotten], dim=1)
        directions = residual_directions([means[k] for k in sorted(task.forgotten)], kept)
        if directions.shape[1] == 0:
            continue
        strength = position / len(seen) * separability(rows, torch.isin(labels, torch.tensor(sorted(task.forgotten))))
        weight = state[f"{name}.weight"]
        projection = (strength * directions @ directions.T).to(weight.dtype)
        # Inputs, or input channels, are the second dimension of both kinds of layers.
        state[f"{name}.weight"] = weight - torch.einsum("oi...,ij->oj...", weight, projection)
    return state


def mean_inputs(task: Task, layers: dict[str, nn.Conv2d | nn.Linear]) -> dict[str, Tensor]:
    """Return what flows into each layer, averaged over positions, float64 (n, inputs), in the order of first calls."""
    seen: dict[str, list[Tensor]] = {}

    def noting(name: str) -> "_Noting":
        return _Noting(seen, name)

    hooks = [part.register_forward_pre_hook(noting(name)) for name, part in layers.items()]
    try:
        answers(task.network, task.data.images)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.cat(parts) for name, parts in seen.items()}


class _Noting:
    """A hook that keeps the mean input of one layer.

    Args:
        seen: Where to keep it.
        name: Under which name.
    """

    def __init__(self, seen: dict[str, list[Tensor]], name: str) -> None:
        self.seen, self.name = seen, name

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0]
        if isinstance(module, nn.Conv2d):
            rows = rows.mean((2, 3))
        self.seen.setdefault(self.name, []).append(rows.flatten(1).double())


def residual_directions(forgotten: Sequence[Tensor], retained: Tensor) -> Tensor:
    """Return an orthonormal basis (d, r) of what forgotten means (d,) have outside the span of retained ones (d, m)."""
    basis = _orthonormal(retained, retained.norm() * 1e-9)
    left = torch.stack([mean - basis @ (basis.T @ mean) for mean in forgotten], dim=1)
    return _orthonormal(left, torch.stack(list(forgotten)).norm() * NEGLIGIBLE)


def _orthonormal(columns: Tensor, negligible: Tensor) -> Tensor:
    u, sigma, _ = torch.linalg.svd(columns, full_matrices=False)
    basis: Tensor = u[:, sigma > negligible]
    return basis


def separability(rows: Tensor, inside: Tensor) -> float:
    """Return how well the nearer of two means tells some rows (n, d) from the others: 0 (by chance) to 1."""
    means = [rows[which].mean(0) for which in (inside, ~inside)]
    nearer = (rows - means[0]).square().sum(1) < (rows - means[1]).square().sum(1)
    balanced = (float(nearer[inside].double().mean()) + float((~nearer[~inside]).double().mean())) / 2
    return max(0.0, 2 * balanced - 1)
