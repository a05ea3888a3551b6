"""A toy that shows what the solver ``redirect`` does: three retained classes and one forgotten.

Images are made of parts. A retained class (A, B, C) has a part of its own. The forgotten class S has one too; besides,
six in ten of its images share a part with A, the others one with B, and each of the two kinds has a part that the other
lacks. A network of two linear maps, first to eight features and then to an output for each class, is trained on all
classes, and another, from the same start, on the retained ones alone. The first is edited by the code that edits real
networks, in double precision, so that pictures of it come out the same on every machine.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ledger.algebra.displacement import Displacement, Mixture, displacement, restricted
from ledger.algebra.map_factors import MapFactors
from ledger.algebra.redirect import redirect_delta
from ledger.algebra.strength import Strength
from ledger.spaces.look_alikes import look_alikes

CLASSES = "ABCS"
FORGOTTEN = 3
RETAINED = (0, 1, 2)
IMAGES = 60
"""Of each class."""
FEATURES = 8
WIDTH = 24
"""Inputs; six carry a part, all carry noise."""
NOISE = 0.15
SHARED = 0.75
"""How strongly an image of S shows the part of the retained class that it resembles; a class shows its own at 1."""
RESEMBLE_A = 0.6
"""Share of the images of S that resemble A; the others resemble B."""
SEED = 1
EPOCHS, RATE, DECAY = 600, 0.5, 3e-3
ALPHA_R = 100.0


@dataclass(frozen=True, eq=False)
class Images:
    """What the networks see."""

    rows: Tensor
    """float64 (n, WIDTH)."""
    labels: Tensor
    """int64 (n,): places in :data:`CLASSES`."""

    def of(self, class_index: int) -> Tensor:
        """Return the images (IMAGES, WIDTH) of one class."""
        return self.rows[self.labels == class_index]


@dataclass(frozen=True, eq=False)
class Weights:
    """The two maps of a network; neither has a bias."""

    features: Tensor
    """float64 (FEATURES, WIDTH)."""
    outputs: Tensor
    """float64 (classes, FEATURES)."""
    shift: Tensor
    """float64 (classes,): biases of the outputs, which no edit touches."""

    def see(self, rows: Tensor) -> Tensor:
        """Return features (n, FEATURES) of images (n, WIDTH)."""
        return rows @ self.features.T

    def answer(self, features: Tensor) -> Tensor:
        """Return logits (n, classes) for features (n, FEATURES)."""
        return features @ self.outputs.T + self.shift


def images() -> Images:
    """Return the images of all classes, the same each time."""
    random = np.random.default_rng(SEED)
    parts = np.zeros((len(CLASSES), IMAGES, WIDTH))
    for k in RETAINED:
        parts[k, :, k] = 1.0
    kinds = np.where(np.arange(IMAGES) < RESEMBLE_A * IMAGES, 0, 1)
    every = np.arange(IMAGES)
    parts[FORGOTTEN, every, kinds] = SHARED
    parts[FORGOTTEN, :, 3] = 0.8
    parts[FORGOTTEN, every, 4 + kinds] = 0.8
    rows = parts + NOISE * random.standard_normal(parts.shape)
    labels = np.repeat(np.arange(len(CLASSES)), IMAGES)
    return Images(torch.from_numpy(rows.reshape(-1, WIDTH)), torch.from_numpy(labels))


def train(shown: Images, classes: int) -> Weights:
    """Train a network by gradient descent on all images at once.

    Args:
        shown: The images to learn from.
        classes: Number of outputs.
    """
    random = np.random.default_rng(SEED)
    first = torch.from_numpy(random.standard_normal((FEATURES, WIDTH)) / math.sqrt(WIDTH))
    second = torch.from_numpy(random.standard_normal((len(CLASSES), FEATURES)) / math.sqrt(FEATURES))[:classes].clone()
    parameters = [first, second, torch.zeros(classes, dtype=torch.float64)]
    for parameter in parameters:
        parameter.requires_grad_()
    for _ in range(EPOCHS):
        weights = Weights(*parameters)
        loss = torch.nn.functional.cross_entropy(weights.answer(weights.see(shown.rows)), shown.labels)
        loss = loss + DECAY * (first.square().sum() + second.square().sum())
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=RATE)
    return Weights(*(parameter.detach() for parameter in parameters))


def never_saw(everything: Images) -> Weights:
    """Return a network that was trained on the retained classes alone."""
    kept = everything.labels != FORGOTTEN
    return train(Images(everything.rows[kept], everything.labels[kept]), len(RETAINED))


def edited(weights: Weights, everything: Images, alpha_f: float, *, groups: bool = True) -> Weights:
    """Return the weights after S was forgotten by ``redirect``, in both maps.

    Args:
        weights: Of the network that was trained on all classes.
        everything: What its statistics are taken from.
        alpha_f: How closely look-alike groups are sent to their mixtures.
        groups: Whether there are look-alike groups, or one direction for the class.
    """
    maps = (everything.rows, weights.features, None), (weights.see(everything.rows), weights.outputs, [FORGOTTEN])
    predictions = masked_predictions(weights, everything)
    changed = []
    for rows, weight, own_outputs in maps:
        inputs = Images(rows, everything.labels)
        moved = _displacement(inputs, predictions, groups=groups)
        retained = torch.cat([inputs.of(k) for k in RETAINED])
        factor = retained.T / retained.norm()  # C_R = F F^T has trace 1
        factors = MapFactors(weight, factor, factor[:, :0], own_outputs, moved)
        changed.append(weight + redirect_delta(factors, Strength(ALPHA_R, alpha_f)))
    first, second = changed
    return Weights(first, second, weights.shift)


def masked_predictions(weights: Weights, everything: Images) -> Tensor:
    """Return what S is taken for with its own output masked, float64 (IMAGES, classes)."""
    logits = weights.answer(weights.see(everything.of(FORGOTTEN)))
    logits[:, FORGOTTEN] = -math.inf
    return logits.softmax(1)


def _displacement(inputs: Images, predictions: Tensor, *, groups: bool) -> Displacement:
    """Return the displacement of S at one map, as :class:`~ledger.spaces.displacements.Displacements` forms it."""
    means = torch.stack([inputs.of(k).mean(0) for k in range(len(CLASSES))], dim=1)
    mixtures = [Mixture(restricted(predictions.mean(0), RETAINED), math.inf)]
    own, mean = inputs.of(FORGOTTEN), means[:, FORGOTTEN]
    found = look_alikes(predictions)
    apart = []
    for j, k in enumerate(found.classes.tolist() if groups else ()):
        shares = predictions[:, k] / predictions[:, k].sum()
        apart.append(own.T @ shares - mean)
        mixtures.append(Mixture(restricted(found.predictions[:, j], RETAINED), float(found.shares[j])))
    deviations = [torch.stack(apart, dim=1)] if apart else []
    return displacement(means[:, FORGOTTEN:], deviations, [mixtures], means[:, list(RETAINED)])
