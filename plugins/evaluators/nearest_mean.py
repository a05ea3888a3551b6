"""Evaluator ``nearest_mean``: how well the nearest class mean in the network's features recognises forgotten classes.

An image belongs to the class whose mean feature is nearest, in Euclid's distance, unscaled. Nothing is trained, so
nothing can be tuned: what it finds, anybody with a few images of each class finds too. It agrees with a well-trained
last layer (neural collapse: Papyan, Han, Donoho, PNAS 117, 2020); as a test of unlearning it stands in Gao et al.,
arXiv 2604.08271.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ledger.hookspecs import Depth, EvaluationInput, Evaluator, hookimpl

from .readouts import fall, gap, learned_images, of_version, read_out


def nearest_means(features: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return the class of the nearest class mean, int64 (m,). Computed in float64.

    Args:
        features: (n, f), that the means are of.
        labels: Class index of each (n,).
        asked: (m, f).
    """
    classes = np.unique(labels)
    means = np.stack([features[labels == k].mean(0, dtype=np.float64) for k in classes])
    # |x - m|^2 without |x|^2, which is the same for all means.
    distances = (means**2).sum(1) - 2 * asked.astype(np.float64) @ means.T
    return np.asarray(classes[distances.argmin(1)])


class NearestMeanEvaluator:
    """Accuracy of the nearest class mean at three depths, beside original and retrained."""

    name = "nearest_mean"
    level = 3
    by_default = False

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return the accuracies on test images.

        - ``depths``: by depth and network (version, original, retrained), ``per_class`` accuracies and the means over
          ``retained`` and ``forgotten`` classes; None where features cannot be told.
        - ``nearest_mean_gap``: how far the version is from the retrained network at the penultimate depth, mean over
          forgotten classes of absolute differences. ``nearest_mean_fall``: original less version.
          ``nearest_mean_forgotten``: the version's.
        - ``nearest_mean_images``: the number of images that the means are of. ``nearest_mean_seed``: of their choice.
        """
        learned = learned_images(data.train.labels, data.seed)
        found = read_out(data, nearest_means, learned)
        last = found.get(Depth.PENULTIMATE.value, {})
        return {
            "nearest_mean_gap": gap(last, data.forgotten),
            "nearest_mean_fall": fall(last),
            "nearest_mean_forgotten": of_version(last),
            "nearest_mean_images": len(learned),
            "nearest_mean_seed": data.seed,
            "depths": found,
        }


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the nearest class mean."""
    return (NearestMeanEvaluator(),)
