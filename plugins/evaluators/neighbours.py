"""Evaluator ``neighbours``: do answers over the retained classes betray images of a forgotten one?

A network that never saw a class takes its images for what they resemble, more or less surely. An edited network may
send them elsewhere, or spread them evenly; whoever sees that knows that the class was there. This follows the idea of
MIA-NN (Ebrahimpour-Boroojeny, Wang, Sundaram, arXiv 2506.20893): the probabilities of neighbouring classes give
forgotten samples away. It is a test of distributions, not of single training images: all images are test images.

For each forgotten class the *neighbour* is the retained class that the original, not allowed to answer forgotten
classes, gives the most probability on its images. A logistic regression on the log-probabilities of retained classes is
asked to tell images of the forgotten class from the neighbour's own, each judged by a fit that did not see it (five
folds). The area under its ROC curve is the figure: at 0.5 forgotten images are answered just as the neighbour's.

It is well above 0.5 for networks that never saw the class, too: an unknown image is answered less surely than a known
one. So only the gap to a retrained network says that an edit shows; without one, the masked original gives the scale.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ledger.hookspecs import EvaluationInput, Evaluator, NetworkRole, Outputs, hookimpl

from .roc import separation

FOLDS = 5
SMALLEST = 1e-12
"""Probabilities below are taken for this one, so that their logarithms are finite."""
MOST_PER_SIDE = 2000
"""Most images of a forgotten class, and of its neighbour."""
MOST_LISTED = 5
"""Most retained classes that are listed as places where images go."""


def over_retained(outputs: Outputs, forgotten: frozenset[int]) -> np.ndarray:
    """Return the probabilities that retained classes share, float64 (n, retained); even where they have none."""
    retained = [k for k in range(outputs.probabilities.shape[1]) if k not in forgotten]
    p = outputs.probabilities[:, retained]
    total = p.sum(axis=1, keepdims=True)
    return np.where(total > 0, p / np.where(total > 0, total, 1.0), 1 / len(retained))


def detection_scores(forgotten: np.ndarray, neighbours: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return how much each image looks like one of the forgotten class to a regression that was not fitted to it.

    Args:
        forgotten: Probabilities over retained classes for images of a forgotten class (n, k).
        neighbours: The same for images of its neighbour (m, k).
        seed: Of the folds.

    Returns:
        Scores (n,) and (m,); None with fewer images than folds on a side.
    """
    if min(len(forgotten), len(neighbours)) < FOLDS:
        return None
    inputs = np.log(np.concatenate([forgotten, neighbours]).clip(SMALLEST))
    answers = np.repeat([1, 0], [len(forgotten), len(neighbours)])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    scores = cross_val_predict(model, inputs, answers, cv=folds, method="decision_function")
    return scores[: len(forgotten)], scores[len(forgotten) :]


class NeighboursEvaluator:
    """Detection by the version, the masked original, and a retrained network if there is one."""

    name = "neighbours"
    level = 2
    by_default = False

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return ``neighbour_auc``, that of the forgotten class that is detected best, and ``neighbour_gap``.

        The gap is how much better that is than the best by the retrained network. Both are None without images.
        """
        networks = {"version": data.test, "masked_original": data.original_test}
        if retrained := data.networks.get(NetworkRole.RETRAINED):
            networks["retrained"] = retrained.test
        retained = [k for k in range(len(data.labels)) if k not in data.forgotten]
        natural = over_retained(data.original_test, data.forgotten)
        truth = data.test.labels
        found: dict[str, Any] = {name: [] for name in networks}
        for k in sorted(data.forgotten):
            ours = truth == k
            if not (ours.any() and retained):
                continue
            neighbour = retained[int(natural[ours].mean(axis=0).argmax())]
            for name, outputs in networks.items():
                p = over_retained(outputs, data.forgotten)
                found[name].append(_of_class(p, truth, k, neighbour, retained, data.seed))
        version, other = (_best(found.get(name, [])) for name in ("version", "retrained"))
        return {
            "neighbour_auc": version,
            "neighbour_gap": None if version is None or other is None else version - other,
            **found,
            "folds": FOLDS,
            "seed": data.seed,
        }


def _of_class(
    p: np.ndarray, truth: np.ndarray, forgotten: int, neighbour: int, retained: Sequence[int], seed: int
) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    ours, theirs = (
        p[np.sort(generator.permutation(np.flatnonzero(truth == k))[:MOST_PER_SIDE])] for k in (forgotten, neighbour)
    )
    mean = ours.mean(axis=0)
    places = np.argsort(-mean, kind="stable")[:MOST_LISTED]
    scores = detection_scores(ours, theirs, seed)
    told = separation(*scores, seed) if scores else dict.fromkeys(("auc", "auc_low", "auc_high"))
    return {
        "class": forgotten,
        "neighbour": neighbour,
        "images": len(ours),
        "neighbour_images": len(theirs),
        **{name: told[name] for name in ("auc", "auc_low", "auc_high")},
        "goes_to": [{"class": retained[place], "probability": float(mean[place])} for place in places],
    }


def _best(classes: Sequence[dict[str, Any]]) -> float | None:
    known = [one["auc"] for one in classes if one["auc"] is not None]
    return max(known, default=None)


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the evaluator ``neighbours``."""
    return (NeighboursEvaluator(),)
