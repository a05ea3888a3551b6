"""Evaluator ``confusion``: the predicted classes of each class's test images, before and after."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ledger.hookspecs import EvaluationInput, Evaluator, Outputs, hookimpl


def confusion_matrix(outputs: Outputs, classes: int) -> np.ndarray:
    """Return counts, int64 (classes, classes): row = true class, column = predicted class."""
    predicted = outputs.probabilities.argmax(axis=1)
    flat = np.bincount(outputs.labels * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


class ConfusionEvaluator:
    """Confusion matrices on the test images of the version and of the compared weights."""

    name = "confusion"

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return ``matrix`` and ``base_matrix`` as nested lists of counts."""
        classes = len(data.labels)
        return {
            "matrix": confusion_matrix(data.test, classes).tolist(),
            "base_matrix": confusion_matrix(data.base_test, classes).tolist(),
        }


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the confusion evaluator."""
    return (ConfusionEvaluator(),)
