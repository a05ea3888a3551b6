"""Counts of test images, read from what was measured: a share does not tell of how many images.

The evaluator ``accuracy`` counts them; in earlier releases it did not. The matrix of ``confusion`` has a row for each
true class, so a row's sum is the number of images of a class, whatever they were taken for.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from .evidence import Evidence
from .registered_accuracy import Count

ACCURACY, CONFUSION = "accuracy", "confusion"
FEW_IMAGES = 20
"""Test images of a class below which its figures are marked: with none of 20 recognised, 14 % of it may be."""


def tested_images(measured: Mapping[str, Evidence], classes: AbstractSet[int]) -> list[int] | None:
    """Return how many test images some classes were measured on, ascending; None where that was not counted.

    Args:
        measured: Evidence by evaluator.
        classes: Class indices, at least one.
    """
    counts = counted(measured[ACCURACY].metrics.get("test")) if ACCURACY in measured else {}
    if not counts and CONFUSION in measured:
        counts = recognised(measured[CONFUSION].metrics)
    return sorted(counts[k].images for k in classes) if classes and classes <= counts.keys() else None


def counted(split: object) -> dict[int, Count]:
    """Return the images of each class and how many were recognised; empty if that cannot be read.

    Args:
        split: What the evaluator ``accuracy`` says of one split, as plain JSON values of any kind.
    """
    found = split if isinstance(split, Mapping) else {}
    images, correct = found.get("images"), found.get("correct")
    if not isinstance(images, list) or not isinstance(correct, list) or len(images) != len(correct):
        return {}
    if not all(type(n) is int and n >= 0 for n in (*images, *correct)):
        return {}
    return {k: Count(*pair) for k, pair in enumerate(zip(images, correct, strict=True))}


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
