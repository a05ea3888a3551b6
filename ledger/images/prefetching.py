"""Read ahead: the next batches are read and decoded while the network computes on one.

A thread does it, and one batch at a time: decoders and file systems let go of Python's lock while they work, and data
sources read the images of a batch in threads of their own. Processes would each need the file system's connections
anew, and would have to send every pixel back.
"""

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

AHEAD = 2
"""Batches that are read before they are needed."""
LOOK_SECONDS = 0.1
"""Between two looks at whether anybody still wants them."""


def ahead(items: Iterable[T], most: int = AHEAD) -> Iterator[T]:
    """Yield items in their order, and have the next ones ready.

    Args:
        items: Iterated over in a thread of its own. What it raises is raised here, in its turn.
        most: Items that may be ready.
    """
    ready: queue.Queue[_Item[T] | _End] = queue.Queue(most)
    unwanted = threading.Event()
    reader = threading.Thread(target=_read, args=(items, ready, unwanted), name="unledger-images", daemon=True)
    reader.start()
    try:
        while isinstance(one := ready.get(), _Item):
            yield one.value
        if one.error is not None:
            raise one.error
    finally:
        unwanted.set()
        reader.join()


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def _read(items: Iterable[T], ready: "queue.Queue[_Item[T] | _End]", unwanted: threading.Event) -> None:
    """Put items into a queue, and its end after them, until they are unwanted."""
    try:
        for item in items:
            if not _put(ready, _Item(item), unwanted):
                return
    except BaseException as error:  # noqa: BLE001 - raised where the item is wanted
        _put(ready, _End(error), unwanted)
    else:
        _put(ready, _End(), unwanted)


def _put(ready: "queue.Queue[_Item[T] | _End]", one: "_Item[T] | _End", unwanted: threading.Event) -> bool:
    """Wait for room; return whether somebody still wants it."""
    while not unwanted.is_set():
        try:
            ready.put(one, timeout=LOOK_SECONDS)
        except queue.Full:
            continue
        return True
    return False
