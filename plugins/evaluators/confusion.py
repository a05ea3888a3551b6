"""Evaluator ``confusion``: the predicted classes of each class's test images, before and after.

And where the images of forgotten classes went: what they are taken for instead, beside what the masked original and a
retrained network take them for. Two rows of answers are compared over the retained classes by their cosine (1: the same
shares; 0: nothing shared) and by Spearman's rank correlation (1: the same order of classes; 0: none).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ledger.hookspecs import EvaluationInput, Evaluator, NetworkRole, Outputs, hookimpl

from .accuracy import masked, of_classes, original_answers

MOST_DIFFERENCES = 1000
"""Most classes for which the difference of the matrices is recorded as well; it can be told from the two of them."""
MASKED = "masked_original"


def confusion_matrix(outputs: Outputs, classes: int) -> np.ndarray:
    """Return counts, int64 (classes, classes): row = true class, column = predicted class."""
    predicted = outputs.probabilities.argmax(axis=1)
    flat = np.bincount(outputs.labels * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def row_alignment(row: np.ndarray, reference: np.ndarray) -> tuple[float | None, float | None]:
    """Return cosine and Spearman correlation of two histograms of answers, each float or int (classes,).

    A cosine is None where either histogram is empty, a correlation where either is the same for every class.
    """
    lengths = float(np.linalg.norm(row) * np.linalg.norm(reference))
    cosine = float(row @ reference) / lengths if lengths else None
    if min(len(row), len(reference)) < 2 or not np.ptp(row) or not np.ptp(reference):
        return cosine, None
    return cosine, float(spearmanr(row, reference).statistic)


def mean_alignment(
    matrix: np.ndarray, reference: np.ndarray, forgotten: frozenset[int]
) -> tuple[float | None, float | None]:
    """Return the mean cosine and correlation of the rows of forgotten classes that have images.

    Only answers of retained classes count. A mean is None if one of the rows has no such figure: a version that still
    answers a class throughout must not hide behind the others.

    Args:
        matrix: Counts (classes, classes).
        reference: Counts of the same images, by the network compared with.
        forgotten: The classes.
    """
    retained = [k for k in range(len(matrix)) if k not in forgotten]
    rows = [k for k in sorted(forgotten) if matrix[k].any()]
    each = [row_alignment(matrix[k, retained], reference[k, retained]) for k in rows]
    cosines, correlations = ([pair[part] for pair in each] for part in (0, 1))
    return _strict_mean(cosines), _strict_mean(correlations)


class ConfusionEvaluator:
    """Confusion matrices on the test images of the version and of the compared weights, and where images went."""

    name = "confusion"
    level = 1

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return matrices of counts, and where the images of forgotten classes went.

        - ``matrix``, ``base_matrix``: counts of the version and of the compared weights; ``difference``: the first less
          the second, for at most 1,000 classes.
        - ``went_to``: by forgotten class, its ``images`` and, for the ``version``, the ``masked_original`` and a
          ``retrained`` network, the shares of the answers that it got, by class; answers that it did not get are
          left out.
        - ``row_cosine_masked``, ``row_spearman_masked``: how alike the version's rows of forgotten classes are to those
          of the masked original, mean over the classes; ``..._retrained`` likewise, None without such a network.
        """
        classes = len(data.labels)
        matrix, base = (confusion_matrix(one, classes) for one in (data.test, data.base_test))
        references = {}
        if original := original_answers(data):
            answers = masked(of_classes(original[1], data.forgotten), data.forgotten)
            references[MASKED] = confusion_matrix(answers, classes)
        if retrained := data.networks.get(NetworkRole.RETRAINED):
            references["retrained"] = confusion_matrix(retrained.test, classes)
        result: dict[str, Any] = {"matrix": matrix.tolist(), "base_matrix": base.tolist()}
        if classes <= MOST_DIFFERENCES:
            result["difference"] = (matrix - base).tolist()
        result["went_to"] = {
            str(k): {"images": int(matrix[k].sum()), **_shares_of(k, {"version": matrix, **references})}
            for k in sorted(data.forgotten)
        }
        for name, short in ((MASKED, "masked"), ("retrained", "retrained")):
            found = mean_alignment(matrix, references[name], data.forgotten) if name in references else (None, None)
            result[f"row_cosine_{short}"], result[f"row_spearman_{short}"] = found
        return result


def _shares_of(k: int, matrices: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {
        name: {str(answer): float(matrix[k, answer] / matrix[k].sum()) for answer in np.flatnonzero(matrix[k])}
        for name, matrix in matrices.items()
    }


def _strict_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the confusion evaluator."""
    return (ConfusionEvaluator(),)
