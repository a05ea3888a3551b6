"""Metrics of the built-in evaluators, read from the JSON that they left as evidence.

The JSON may come from another release or from a third party: a number that is missing or malformed becomes None, a
structure that makes no sense is left out, and nothing here raises. Every accuracy is a share between 0 and 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.domain.numbers import finite_number
from ledger.domain.retained_accuracy import RetainedAccuracy

from .numbers import mean_of_known


@dataclass(frozen=True)
class ClassAccuracies:
    """The accuracy on each class, before and after unlearning.

    Both tuples have one share for each class, in class order; None where nothing was measured.
    """

    before: tuple[float | None, ...]
    after: tuple[float | None, ...]

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return any(value is not None for value in (*self.before, *self.after))

    def change(self, k: int) -> float | None:
        """Return by how much the accuracy on class ``k`` rose, as a difference of shares; negative for a loss."""
        before, after = self.before[k], self.after[k]
        return None if before is None or after is None else after - before

    def means(self, classes: Sequence[int]) -> tuple[float | None, float | None]:
        """Return the unweighted mean accuracies over some classes, before and after."""
        return mean_of_known([self.before[k] for k in classes]), mean_of_known([self.after[k] for k in classes])


@dataclass(frozen=True)
class AccuracyMetrics:
    """Metrics of the evaluator ``accuracy``: the accuracies on test and on training images."""

    test: ClassAccuracies
    train: ClassAccuracies
    masked_test: tuple[float | None, ...] = ()
    """Accuracy of the masked original on each class, on test images; empty or None where it was not measured."""

    def retained(self, classes: Sequence[int]) -> RetainedAccuracy:
        """Return the mean accuracies on retained test images, of the version and of both originals."""
        before, after = self.test.means(classes)
        masked = mean_of_known([self.masked_test[k] for k in classes if self.masked_test])
        return RetainedAccuracy(after, masked, before)


def read_accuracy(metrics: Mapping[str, Any], classes: int) -> AccuracyMetrics | None:
    """Read the metrics of ``accuracy`` for a model of so many classes; None if they contain no accuracy."""
    test, train = (
        ClassAccuracies(_per_class(metrics.get(f"base_{split}"), classes), _per_class(metrics.get(split), classes))
        for split in ("test", "train")
    )
    masked = _per_class(metrics.get("mask_test"), classes)
    return AccuracyMetrics(test, train, masked) if test.known or train.known else None


def _per_class(split: object, classes: int) -> tuple[float | None, ...]:
    values = split.get("per_class") if isinstance(split, dict) else None
    if not isinstance(values, list) or len(values) != classes:
        return (None,) * classes
    return tuple(finite_number(value) for value in values)


@dataclass(frozen=True)
class ConfusionMatrix:
    """Numbers of images of each true class (row) that got each answer (column), shape (classes, classes)."""

    counts: tuple[tuple[float, ...], ...]
    images: tuple[float, ...]
    """Number of images of each true class."""

    def share(self, row: int, column: int) -> float | None:
        """Return the share of a class's images that got an answer, between 0 and 1; None without images."""
        return self.counts[row][column] / self.images[row] if self.images[row] else None

    def diagonal(self) -> tuple[float | None, ...]:
        """Return the accuracy on each class, as a share."""
        return tuple(self.share(k, k) for k in range(len(self.images)))

    def top(self, row: int, most: int) -> tuple[tuple[int, float], ...]:
        """Return the most frequent answers to a class's images, each with its share."""
        counts = self.counts[row]
        ranked = sorted((k for k, amount in enumerate(counts) if amount), key=lambda k: (-counts[k], k))
        return tuple((k, counts[k] / self.images[row]) for k in ranked[:most])


@dataclass(frozen=True)
class ConfusionMetrics:
    """Metrics of the evaluator ``confusion``: the matrices before and after unlearning."""

    before: ConfusionMatrix | None
    after: ConfusionMatrix

    def change(self, row: int, column: int) -> float | None:
        """Return by how much the share of one answer rose, as a difference of shares; None if either is unknown."""
        before = None if self.before is None else self.before.share(row, column)
        after = self.after.share(row, column)
        return None if before is None or after is None else after - before


def read_confusion(metrics: Mapping[str, Any], classes: int) -> ConfusionMetrics | None:
    """Read the metrics of ``confusion`` for a model of so many classes; None without a matrix of the version."""
    after = _matrix(metrics.get("matrix"), classes)
    return None if after is None else ConfusionMetrics(_matrix(metrics.get("base_matrix"), classes), after)


def _matrix(values: object, classes: int) -> ConfusionMatrix | None:
    if not isinstance(values, list) or len(values) != classes:
        return None
    rows = [tuple(finite_number(cell) for cell in row) if isinstance(row, list) else () for row in values]
    counts = [tuple(cell for cell in row if cell is not None and cell >= 0) for row in rows]
    if any(len(row) != classes for row in counts):
        return None
    return ConfusionMatrix(tuple(counts), tuple(sum(row) for row in counts))
