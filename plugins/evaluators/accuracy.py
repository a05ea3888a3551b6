"""Evaluator ``accuracy``: per class, and over retained and forgotten classes, on train and test.

Fewer answers compete after forgetting, so a version is compared with the *masked original* as well: the registered
weights, which may not answer a forgotten class.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ledger.hookspecs import EvaluationInput, Evaluator, Outputs, hookimpl


def class_accuracy(outputs: Outputs, classes: int) -> list[float | None]:
    """Return each class's share of correct answers; None for a class without images."""
    correct = outputs.probabilities.argmax(axis=1) == outputs.labels
    return [float(correct[outputs.labels == k].mean()) if (outputs.labels == k).any() else None for k in range(classes)]


def masked(outputs: Outputs, forgotten: frozenset[int]) -> Outputs:
    """Return the answers of a network that may not answer some classes: the others share all of the probability.

    An image of which the other classes had no probability at all is shared out evenly among them.
    """
    kept = np.ones(outputs.probabilities.shape[1], dtype=bool)
    kept[sorted(forgotten)] = False
    p = np.where(kept, outputs.probabilities, 0.0)
    total = p.sum(axis=1, keepdims=True)
    even = kept / max(1, kept.sum())
    return Outputs(outputs.labels, np.where(total > 0, p / np.where(total > 0, total, 1.0), even))


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
    """Accuracy beside that of the compared weights and of the masked original, and what the retained classes lost."""

    name = "accuracy"

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return accuracies and two differences of them, on retained test images.

        ``train`` and ``test`` are the version's, ``base_train`` and ``base_test`` those of the compared weights,
        ``mask_train`` and ``mask_test`` those of the masked original, whatever the version is compared with.
        ``loss_against_mask`` is what the version lost against the masked original. ``retained_drop`` is the drop
        against the plain compared weights; it flatters, since more answers competed there. Both are None without
        images.
        """
        original_train = data.base_train if data.anchor_train is None else data.anchor_train
        original_test = data.base_test if data.anchor_test is None else data.anchor_test
        answers = {
            "train": data.train,
            "test": data.test,
            "base_train": data.base_train,
            "base_test": data.base_test,
            "mask_train": masked(original_train, data.forgotten),
            "mask_test": masked(original_test, data.forgotten),
        }
        result = {name: split_accuracy(one, len(data.labels), data.forgotten) for name, one in answers.items()}
        retained = {name: one["retained"] for name, one in result.items()}
        return {
            **result,
            "loss_against_mask": _difference(retained["mask_test"], retained["test"]),
            "retained_drop": _difference(retained["base_test"], retained["test"]),
        }


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the accuracy evaluator."""
    return (AccuracyEvaluator(),)
