"""Retry when the database is busy: a bounded number of attempts, with random pauses that grow."""

import random
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from ledger.errors import BusyError

T = TypeVar("T")
ATTEMPTS = 5
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
PATIENCE = 10.0
"""Seconds after which no other attempt is begun; the last one may take as long as the database waits for a lock."""

_chance = random.Random()  # noqa: S311 - it spreads load, it guards nothing


def pauses(first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> Iterator[float]:
    """Yield pauses in seconds without end, random between half and all of a time that doubles up to the longest."""
    ceiling = min(first, longest)
    while True:
        yield _chance.uniform(ceiling / 2, ceiling)
        ceiling = min(2 * ceiling, longest)


def retry_when_busy(
    transaction: Callable[[], T],
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Run a transaction, and run it again a few times while the database is too busy for it.

    Args:
        transaction: Opens, writes and commits one transaction. The database undid a busy one wholly, so
            nothing is done twice.
        sleep: How to wait.
        clock: Seconds, counted from any moment.

    Raises:
        BusyError: The last attempt met with it too; nothing was written.
    """
    began = clock()
    for pause in islice(pauses(), ATTEMPTS - 1):
        try:
            return transaction()
        except BusyError:
            # The database may have waited for a lock already, as long as anybody should.
            if clock() - began >= PATIENCE:
                raise
            sleep(pause)
    return transaction()
