"""Reading ahead keeps the order, passes errors on in their turn, and ends when nobody wants more."""

import threading
import time
from collections.abc import Iterator

import pytest

from ledger.errors import DataError
from ledger.images.prefetching import ahead


def counting(read: list[int], most: int) -> Iterator[int]:
    for item in range(most):
        read.append(item)
        yield item


def test_items_come_in_order_and_are_read_before_they_are_wanted() -> None:
    read: list[int] = []
    found = ahead(counting(read, 100), most=3)
    assert next(found) == 0
    deadline = time.monotonic() + 10
    # One that was taken, three that are ready, one that waits for room.
    while len(read) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert read == [0, 1, 2, 3, 4]
    assert list(found) == list(range(1, 100))


def test_an_error_comes_after_what_was_read_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise DataError("cannot read the image 2.png")

    found = ahead(failing())
    assert next(found) == 1
    with pytest.raises(DataError, match=r"2\.png"):
        next(found)


def test_the_reader_ends_when_nobody_wants_more() -> None:
    read: list[int] = []
    found = ahead(counting(read, 10**9))
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name == "unledger-images"]
    assert len(read) < 10
