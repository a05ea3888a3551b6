"""Counts of test images, read from what the evaluator ``confusion`` measured.

Its matrix has a row for each true class, so a row's sum is the number of images of a class, whatever they were taken
for. Accuracies are shares, and a share does not tell of how many images.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from .evidence import Evidence
from .registered_accuracy import Count

CONFUSION = "confusion"
FEW_IMAGES = 20
"""Test images of a class below which its figures are marked: with none of 20 recognised, 14 % of it may be."""


def tested_images(measured: Mapping[str, Evidence], classes: AbstractSet[int]) -> list[int] | None:
    """Return how many test images some classes were measured on, ascending; None where that was not counted.

    Args:
        measured: Evidence by evaluator.
        classes: Class indices, at least one.
    """
    counts = recognised(measured[CONFUSION].metrics) if CONFUSION in measured else {}
    return sorted(counts[k].images for k in classes) if classes and classes <= counts.keys() else None


def recognised(metrics: Mapping[str, Any], matrix: str = "matrix") -> dict[int, Count]:
    """Return the test images of each class and how many were recognised; empty if that cannot be read.

    Args:
        metrics: Of the evaluator ``confusion``, as plain JSON values of any kind.
        matrix: ``matrix`` for the version, ``base_matrix`` for what it is compared with.
    """
    rows = metrics.get(matrix)
    if not isinstance(rows, list) or not all(_is_row(row, len(rows)) for row in rows):
        return {}
    return {k: Count(sum(row), row[k]) for k, row in enumerate(rows)}


def _is_row(row: object, length: int) -> bool:
    return isinstance(row, list) and len(row) == length and all(type(n) is int and n >= 0 for n in row)
