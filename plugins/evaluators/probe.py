"""Evaluator ``probe``: how well a new last layer, learned from the network's features, recognises forgotten classes.

An edit of the last layer alone leaves a class as readable as before, however low its accuracy: a probe sees that. Two
definitions are in use, and they may disagree:

- *regularised*: a multinomial logistic regression with L2 penalty (scikit-learn, C = 1) on features that are
  standardised, each to mean 0 and deviation 1 over the training images. It sees what was only shrunk.
- *sgd*: one linear layer on the raw features, by stochastic gradient descent: rate 0.01, momentum 0.9, no decay, 50
  epochs, as Gao et al., "An Illusion of Unlearning?", arXiv 2604.08271. Here it starts from zeros, in batches of 64,
  and learns from all given images. It sees less of what was shrunk, and is not at its optimum after 50 epochs.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ledger.hookspecs import Depth, EvaluationInput, Evaluator, hookimpl

from .readouts import fall, gap, learned_images, of_version, read_out

MOST_STEPS = 1000
"""Steps after which a regression that has not converged is taken as it is."""
RATE, MOMENTUM, EPOCHS, BATCH = 0.01, 0.9, 50, 64


def logistic_regression(features: np.ndarray, labels: np.ndarray) -> Pipeline:
    """Return a logistic regression on standardised features, with scikit-learn's usual penalty.

    Args:
        features: (n, f), in the precision to compute in.
        labels: Class index of each (n,), at least two different ones.
    """
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_STEPS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return pipeline.fit(features, labels)


def converged(pipeline: Pipeline) -> bool:
    """Whether a :func:`logistic_regression` ended before its steps did."""
    return bool(pipeline[-1].n_iter_.max() < MOST_STEPS)


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """What :func:`linear_layer` learned."""

    weight: Tensor
    """float32 (k, f)."""
    bias: Tensor
    """float32 (k,)."""
    classes: np.ndarray
    """Class index of each output, int64 (k,), ascending."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the most likely class of each row of features (m, f), int64 (m,)."""
        answers = torch.addmm(self.bias, torch.from_numpy(np.array(features, dtype=np.float32)), self.weight.T)
        return np.asarray(self.classes[answers.argmax(1).numpy()])


def linear_layer(features: np.ndarray, labels: np.ndarray, seed: int) -> LinearLayer:
    """Return a linear layer learned from raw features by SGD on the cross-entropy, starting from zeros.

    The gradient of one layer is known: softmax less one-hot, times the features, averaged over the batch. Written out,
    it takes a fraction of the time of automatic differentiation. Momentum is that of ``torch.optim.SGD``: v <- 0.9 v +
    gradient, weight <- weight - 0.01 v.

    Args:
        features: (n, f); computed in float32.
        labels: Class index of each (n,).
        seed: Of the order of the images in each epoch.
    """
    classes, targets = np.unique(labels, return_inverse=True)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        inputs = torch.from_numpy(np.array(features, dtype=np.float32))
        wanted = torch.from_numpy(targets.astype(np.int64))
        weight, bias = torch.zeros(len(classes), inputs.shape[1]), torch.zeros(len(classes))
        weight_speed, bias_speed = torch.zeros_like(weight), torch.zeros_like(bias)
        for _ in range(EPOCHS):
            order = torch.randperm(len(inputs), generator=generator)
            for start in range(0, len(order), BATCH):
                chosen = order[start : start + BATCH]
                seen = inputs[chosen]
                excess = torch.addmm(bias, seen, weight.T).softmax(1)
                excess[torch.arange(len(chosen)), wanted[chosen]] -= 1
                excess /= len(chosen)
                weight_speed.mul_(MOMENTUM).addmm_(excess.T, seen)
                bias_speed.mul_(MOMENTUM).add_(excess.sum(0))
                weight.sub_(weight_speed, alpha=RATE)
                bias.sub_(bias_speed, alpha=RATE)
    return LinearLayer(weight, bias, classes)


class ProbeEvaluator:
    """Accuracy on forgotten and retained test images of probes at three depths, beside original and retrained."""

    name = "probe"
    level = 3
    by_default = False

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return the accuracies of both kinds of probe.

        - ``regularised``, ``sgd``: by depth and network (version, original, retrained), ``per_class`` accuracies on
          test images, means over ``retained`` and ``forgotten`` classes; None where features cannot be told.
        - ``probe_gap``: how far the version is from the retrained network, at the penultimate depth and regularised:
          mean over forgotten classes of absolute differences. ``probe_fall``: original less version.
          ``probe_forgotten``: the version's. ``probe_sgd_...``: the same three of the other kind.
        - ``probe_images``: the number of images that each probe learned from. ``probe_unconverged``: the number of
          regularised probes that were ended after 1,000 steps. ``probe_seed``: of the choice and order of images.
        """
        learned = learned_images(data.train.labels, data.seed)
        unconverged = 0

        def regularised(features: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
            nonlocal unconverged
            # In float64, so that badly conditioned features do not end the search early.
            pipeline = logistic_regression(features.astype(np.float64), labels)
            unconverged += not converged(pipeline)
            return np.asarray(pipeline.predict(asked.astype(np.float64)))

        def sgd(features: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
            return linear_layer(features, labels, data.seed).predict(asked)

        found = {
            kind: read_out(data, readout, learned) for kind, readout in (("regularised", regularised), ("sgd", sgd))
        }
        last = {kind: by_depth.get(Depth.PENULTIMATE.value, {}) for kind, by_depth in found.items()}
        scalars: dict[str, Any] = {}
        for kind, prefix in (("regularised", "probe"), ("sgd", "probe_sgd")):
            scalars[f"{prefix}_gap"] = gap(last[kind], data.forgotten)
            scalars[f"{prefix}_fall"] = fall(last[kind])
            scalars[f"{prefix}_forgotten"] = of_version(last[kind])
        counts = {"probe_images": len(learned), "probe_unconverged": unconverged, "probe_seed": data.seed}
        return {**scalars, **counts, **found}


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the probe."""
    return (ProbeEvaluator(),)
