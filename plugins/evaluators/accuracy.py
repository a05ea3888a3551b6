"""Evaluator ``accuracy``: per class, and over retained and forgotten classes, on train and test.

Fewer answers compete after forgetting, so a version is compared with the *masked original* as well: the registered
weights, which may not answer a forgotten class. Beside every share stand the images it was counted on and its 95 %
interval (:mod:`ledger.domain.intervals`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ledger.domain.intervals import mean_interval, mean_loss_interval, wilson
from ledger.hookspecs import EvaluationInput, Evaluator, NetworkRole, Outputs, hookimpl

TOP = 5
"""How many answers may compete for the second kind of accuracy, where there are more classes than that."""
FEW_IMAGES = 20
"""Test images below which a class counts as one of few: with 20, none of them correct, a sixth may still be."""


def top_correct(outputs: Outputs, most: int) -> np.ndarray:
    """Return whether the true class is among the ``most`` likely answers, bool (n,).

    Equal probabilities count in class order, as for ``argmax``. What has no probability at all is not an answer.
    """
    images = np.arange(len(outputs.labels))
    own = outputs.probabilities[images, outputs.labels][:, None]
    before = outputs.probabilities > own
    earlier = np.arange(outputs.probabilities.shape[1]) < outputs.labels[:, None]
    before |= (outputs.probabilities == own) & earlier
    return np.asarray((before.sum(axis=1) < most) & (own[:, 0] > 0))


def class_counts(labels: np.ndarray, correct: np.ndarray, classes: int) -> tuple[list[int], list[int]]:
    """Return the number of images of each class, and of those that are correct.

    Args:
        labels: True class of each image, int64 (n,).
        correct: Whether it was recognised, bool (n,).
        classes: Number of the model's classes.
    """
    images = np.bincount(labels, minlength=classes)
    return images.tolist(), np.bincount(labels[correct], minlength=classes).tolist()


def class_accuracy(outputs: Outputs, classes: int) -> list[float | None]:
    """Return each class's share of correct answers; None for a class without images."""
    correct = outputs.probabilities.argmax(axis=1) == outputs.labels
    return _shares(*class_counts(outputs.labels, correct, classes))


def original_answers(data: EvaluationInput) -> tuple[Outputs, Outputs] | None:
    """Return the answers of the original to training and test images; None if there is no original any more.

    After a purge a version may be all that is left. What else it is compared with, a retrained network say, is no
    original, and must not be masked and taken for one.
    """
    if data.networks and NetworkRole.ORIGINAL not in data.networks:
        return None
    return data.original_train, data.original_test


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


def of_classes(outputs: Outputs, classes: frozenset[int]) -> Outputs:
    """Return the answers to the images of some classes only."""
    chosen = np.isin(outputs.labels, sorted(classes))
    return Outputs(outputs.labels[chosen], outputs.probabilities[chosen])


def group_means(
    labels: np.ndarray, correct: np.ndarray, classes: int, forgotten: frozenset[int]
) -> dict[str, list[float | None] | float | None]:
    """Return class accuracies and their unweighted means over retained and forgotten classes.

    Args:
        labels: True class of each image, int64 (n,).
        correct: Whether it was recognised, bool (n,).
        classes: Number of the model's classes.
        forgotten: Those that are forgotten.
    """
    each = _shares(*class_counts(labels, correct, classes))
    return {
        "per_class": each,
        "retained": mean_of([each[k] for k in range(classes) if k not in forgotten]),
        "forgotten": mean_of([each[k] for k in sorted(forgotten)]),
    }


def split_accuracy(outputs: Outputs, classes: int, forgotten: frozenset[int]) -> dict[str, Any]:
    """Return class accuracies and means with the counts behind them.

    Returns:
        What :func:`group_means` returns; ``images`` and ``correct``, counts by class; ``intervals``, by class, pairs of
        bounds or None without images; ``retained_images`` and ``forgotten_images``; the intervals of both means; and
        ``top5``, as :func:`group_means`, where there are more than five classes.
    """
    correct = outputs.probabilities.argmax(axis=1) == outputs.labels
    images, right = class_counts(outputs.labels, correct, classes)
    bounds = [wilson(*counts) for counts in zip(right, images, strict=True)]
    groups = {"retained": [k for k in range(classes) if k not in forgotten], "forgotten": sorted(forgotten)}
    result: dict[str, Any] = {
        **group_means(outputs.labels, correct, classes, forgotten),
        "images": images,
        "correct": right,
        "intervals": [None if one is None else [one.low, one.high] for one in bounds],
    }
    for name, chosen in groups.items():
        interval = mean_interval([(right[k], images[k]) for k in chosen])
        result[f"{name}_images"] = sum(images[k] for k in chosen)
        result[f"{name}_interval"] = None if interval is None else interval.to_json()
    if classes > TOP:
        result["top5"] = group_means(outputs.labels, top_correct(outputs, TOP), classes, forgotten)
    return result


def loss_counts(before: Outputs, after: Outputs, classes: int) -> list[tuple[int, int, int]]:
    """Return, by class, the images that only ``before`` recognises, those that only ``after`` does, and all images.

    Args:
        before: Answers of one network.
        after: Answers of another to the same images.
        classes: Number of the model's classes.
    """
    was, now = (one.probabilities.argmax(axis=1) == one.labels for one in (before, after))
    images, lost = class_counts(after.labels, was & ~now, classes)
    _, gained = class_counts(after.labels, now & ~was, classes)
    return list(zip(lost, gained, images, strict=True))


class AccuracyEvaluator:
    """Accuracy beside that of the compared weights and of the masked original, and what the retained classes lost."""

    name = "accuracy"
    level = 1

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return accuracies, by split, and what follows from them on test images.

        ``train`` and ``test`` are the version's, ``base_train`` and ``base_test`` those of the compared weights,
        ``original_...`` those of the original where the compared weights are others, ``mask_...`` those of the masked
        original, whatever the version is compared with, and ``retrained_...`` those of a declared retrained network.

        - ``loss_against_mask``: what the version lost against the masked original, mean over retained classes;
          ``loss_against_mask_interval``: its 95 % interval, from the images on which the two differ.
        - ``worst_class_loss``: the most that any one of them lost.
        - ``loss_against_retrained``: the same as the first, against the retrained network.
        - ``retained_drop``: against the plain compared weights; it flatters, since more answers competed there.
        - ``forgotten_accuracy``: the highest of any forgotten class.
        - ``few_images``: number of classes with fewer than 20 test images.
        - ``per_class``: the first and third for each retained class, None for the others.

        What cannot be told without images, without a retrained network, or without an original to mask, is None.
        """
        answers = {"train": data.train, "test": data.test, "base_train": data.base_train, "base_test": data.base_test}
        if data.anchor_train is not None and data.anchor_test is not None:
            answers |= {"original_train": data.anchor_train, "original_test": data.anchor_test}
        if (original := original_answers(data)) is not None:
            masks = (masked(one, data.forgotten) for one in original)
            answers |= dict(zip(("mask_train", "mask_test"), masks, strict=True))
        retrained = data.networks.get(NetworkRole.RETRAINED)
        if retrained is not None:
            answers |= {"retrained_train": retrained.train, "retrained_test": retrained.test}
        result = {name: split_accuracy(one, len(data.labels), data.forgotten) for name, one in answers.items()}
        retained = {name: one["retained"] for name, one in result.items()}
        after = result["test"]["per_class"]
        lost = {
            f"loss_against_{name}": _losses(result[split]["per_class"], after, data.forgotten)
            if split in result
            else None
            for name, split in (("mask", "mask_test"), ("retrained", "retrained_test"))
        }
        each: list[tuple[int, int, int]] = []
        if "mask_test" in answers:
            counts = loss_counts(answers["mask_test"], data.test, len(data.labels))
            each = [one for k, one in enumerate(counts) if k not in data.forgotten]
        interval = mean_loss_interval(each)
        return {
            **result,
            "loss_against_mask": difference(retained.get("mask_test"), retained["test"]),
            "loss_against_mask_interval": None if interval is None else interval.to_json(),
            "worst_class_loss": highest(lost["loss_against_mask"] or ()),
            "loss_against_retrained": difference(retained.get("retrained_test"), retained["test"]),
            "retained_drop": difference(retained["base_test"], retained["test"]),
            "forgotten_accuracy": highest(after[k] for k in sorted(data.forgotten)),
            "few_images": sum(count < FEW_IMAGES for count in result["test"]["images"]),
            "per_class": lost,
        }


def difference(before: float | None, after: float | None) -> float | None:
    """Return how much a share fell; None if either is unknown."""
    return None if before is None or after is None else before - after


def highest(values: Iterable[float | None]) -> float | None:
    """Return the largest of the known values; None if none is known."""
    return max((value for value in values if value is not None), default=None)


def mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean of the known values; None if none is known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _shares(images: Sequence[int], correct: Sequence[int]) -> list[float | None]:
    return [right / count if count else None for count, right in zip(images, correct, strict=True)]


def _losses(
    before: Sequence[float | None], after: Sequence[float | None], forgotten: frozenset[int]
) -> list[float | None]:
    each = zip(before, after, strict=True)
    return [None if k in forgotten else difference(*pair) for k, pair in enumerate(each)]


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the accuracy evaluator."""
    return (AccuracyEvaluator(),)
