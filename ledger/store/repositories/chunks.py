"""Values in parts that one statement can hold: databases refuse too many."""

from collections.abc import Collection, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

MOST_VALUES = 1000
"""Values in one statement."""


def chunked(values: Collection[T]) -> Iterator[list[T]]:
    """Yield values in order, as many together as one statement takes."""
    left = iter(values)
    while some := list(islice(left, MOST_VALUES)):
        yield some
