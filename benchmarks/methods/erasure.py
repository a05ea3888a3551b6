"""LEACE: no linear function of the erased features tells forgotten from retained images any more.

Source: Belrose et al., arXiv 2306.03819, theorem 4.2: with ``W`` the whitening of the features and ``P`` the orthogonal
projection onto the columns of ``W Sigma_xz``, ``r(x) = x - W^+ P W (x - mu)`` is the smallest change after which every
linear classifier of ``z`` is as good as the best constant. Here ``z`` says which forgotten class, if any, an image
is of.

The eraser stands in front of the classifier. As it is affine it is absorbed in the classifier's weight and biases, so
that a state dict of the same network comes out; who reads the features themselves reads them as they were.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .prototypes import mean_inputs
from .task import State, Task, classifier_name

SMALLEST = 1e-6
"""Share of the largest variance below which a direction counts as constant; it is then left alone."""


@dataclass(frozen=True)
class Eraser:
    """``x -> x - (x - mean) A^T``."""

    matrix: Tensor
    """A, float64 (d, d)."""
    mean: Tensor
    """float64 (d,)."""

    def __call__(self, features: Tensor) -> Tensor:
        """Return the erased features (n, d)."""
        return features - (features - self.mean) @ self.matrix.T


def fit_eraser(features: Tensor, concepts: Tensor) -> Eraser:
    """Fit the eraser in closed form.

    Args:
        features: float64 (n, d).
        concepts: float64 (n, k), what must not be told from the features.
    """
    mean = features.mean(0)
    centred = features - mean
    variance, axes = torch.linalg.eigh(centred.T @ centred / len(features))
    kept = variance > SMALLEST * variance[-1]
    root = variance[kept].sqrt()
    whitening, unwhitening = axes[:, kept] / root @ axes[:, kept].T, axes[:, kept] * root @ axes[:, kept].T
    cross = centred.T @ (concepts - concepts.mean(0)) / len(features)
    u, sigma, _ = torch.linalg.svd(whitening @ cross, full_matrices=False)
    # Two concepts that go together span one direction.
    u = u[:, sigma > 1e-9 * sigma.max().clamp_min(torch.finfo(sigma.dtype).tiny)]
    return Eraser(unwhitening @ u @ u.T @ whitening, mean)


def leace(task: Task) -> State:
    """Erase the forgotten classes from what flows into the classifier, and absorb that in the classifier."""
    name = classifier_name(task.network)
    features = mean_inputs(task, {name: task.network.get_submodule(name)})[name]  # type: ignore[dict-item]
    concepts = torch.stack([(task.data.labels == k).double() for k in sorted(task.forgotten)], dim=1)
    eraser = fit_eraser(features, concepts)
    state = task.state()
    weight, bias = state[f"{name}.weight"].double(), state[f"{name}.bias"].double()
    state[f"{name}.weight"] = (weight - weight @ eraser.matrix).to(state[f"{name}.weight"].dtype)
    state[f"{name}.bias"] = (bias + weight @ eraser.matrix @ eraser.mean).to(state[f"{name}.bias"].dtype)
    return state
