"""Evaluator ``accuracy``: per class, and over retained and forgotten classes, on train and test."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ledger.hookspecs import EvaluationInput, Evaluator, Outputs, hookimpl


def class_accuracy(outputs: Outputs, classes: int) -> list[float | None]:
    """Return each class's share of correct answers; None for a class without images."""
    correct = outputs.probabilities.argmax(axis=1) == outputs.labels
    return [float(correct[outputs.labels == k].mean()) if (outputs.labels == k).any() else None for k in range(classes)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def split_accuracy(outputs: Outputs, classes: int, forgotten: frozenset[int]) -> dict[str, Any]:
    """Return class accuracies and their unweighted means over retained and forgotten classes."""
    each = class_accuracy(outputs, classes)
    return {
        "per_class": each,
        "retained": _mean([each[k] for k in range(classes) if k not in forgotten]),
        "forgotten": _mean([each[k] for k in sorted(forgotten)]),
    }


class AccuracyEvaluator:
    """Accuracy beside that of the compared weights, and how many points the retained classes lost."""

    name = "accuracy"

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return ``train``, ``test``, ``base_train``, ``base_test`` and ``retained_drop`` on test."""
        classes = len(data.labels)
        result = {
            name: split_accuracy(getattr(data, name), classes, data.forgotten)
            for name in ("train", "test", "base_train", "base_test")
        }
        return {**result, "retained_drop": result["base_test"]["retained"] - result["test"]["retained"]}


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the accuracy evaluator."""
    return (AccuracyEvaluator(),)
