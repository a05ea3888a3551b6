"""The orders in which programs number the classes of a folder of images.

Weights do not say which class an output stands for. The program that trained them sorted the names of folders, and no
two sort alike.
"""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any


class LabelOrder(StrEnum):
    """A rule that puts class names into the order of a network's outputs."""

    TORCHVISION = "torchvision"
    """By code point, upper case before lower case and ``10`` before ``2``: torchvision's ``ImageFolder``, Keras."""
    TIMM = "timm"
    """Natural and without case, ``2`` before ``10``: timm's folder readers."""
    CASELESS = "caseless"
    """By code point without case: lists sorted by people and by some file systems."""
    NUMERIC = "numeric"
    """By the numbers that the names are, or begin or end with; names without one come last."""

    def sort(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the names in this order."""
        # Names that are equal but for case keep the order of their code points, as in a folder that is listed sorted.
        return tuple(sorted(sorted(names), key=_KEYS[self]))


def _natural(name: str) -> list[Any]:
    # Text and numbers alternate, so that like is compared with like.
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", name.lower()))]


def _number(name: str) -> tuple[bool, float, str]:
    found = re.search(r"^\s*[+-]?\d+(\.\d+)?|[+-]?\d+(\.\d+)?\s*$", name)
    return (found is None, float(found.group()) if found else 0.0, name)


def _same(name: str) -> str:
    return name


_KEYS: dict[LabelOrder, Callable[[str], Any]] = {
    LabelOrder.TORCHVISION: _same,
    LabelOrder.TIMM: _natural,
    LabelOrder.CASELESS: str.casefold,
    LabelOrder.NUMERIC: _number,
}


def orders_of(labels: tuple[str, ...]) -> tuple[LabelOrder, ...]:
    """Return the rules that give exactly this order."""
    return tuple(order for order in LabelOrder if order.sort(labels) == labels)
