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
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

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


def linear_layer(features: np.ndarray, labels: np.ndarray, seed: int) -> nn.Linear:
    """Return a linear layer learned from raw features by SGD; its outputs are the sorted classes among ``labels``.

    Args:
        features: (n, f); computed in float32.
        labels: Class index of each (n,).
        seed: Of the order of the images in each epoch.
    """
    classes, targets = np.unique(labels, return_inverse=True)
    # Evaluators may be called where gradients are switched off, and what is made there stays without them.
    with torch.inference_mode(mode=False), torch.enable_grad():
        inputs = torch.from_numpy(np.array(features, dtype=np.float32))
        wanted = torch.from_numpy(targets.astype(np.int64))
        # Made without values: drawing the usual ones would move the caller's random state.
        layer: nn.Linear = nn.Linear(inputs.shape[1], len(classes), device="meta").to_empty(device="cpu")
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        optimiser = torch.optim.SGD(layer.parameters(), lr=RATE, momentum=MOMENTUM)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(EPOCHS):
            order = torch.randperm(len(inputs), generator=generator)
            for start in range(0, len(order), BATCH):
                chosen = order[start : start + BATCH]
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(layer(inputs[chosen]), wanted[chosen])
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    return layer


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
          regularised probes that were ended after 1,000 steps. ``seed``: of the choice and order of images.
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
            layer = linear_layer(features, labels, data.seed)
            with torch.no_grad():
                answers = layer(torch.from_numpy(np.array(asked, dtype=np.float32)))
            return np.asarray(np.unique(labels)[answers.argmax(1).numpy()])

        found = {
            kind: read_out(data, readout, learned) for kind, readout in (("regularised", regularised), ("sgd", sgd))
        }
        last = {kind: by_depth.get(Depth.PENULTIMATE.value, {}) for kind, by_depth in found.items()}
        scalars: dict[str, Any] = {}
        for kind, prefix in (("regularised", "probe"), ("sgd", "probe_sgd")):
            scalars[f"{prefix}_gap"] = gap(last[kind], data.forgotten)
            scalars[f"{prefix}_fall"] = fall(last[kind])
            scalars[f"{prefix}_forgotten"] = of_version(last[kind])
        counts = {"probe_images": len(learned), "probe_unconverged": unconverged, "seed": data.seed}
        return {**scalars, **counts, **found}


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the probe."""
    return (ProbeEvaluator(),)
