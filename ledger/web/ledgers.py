"""Opened ledgers, each used by one request at a time.

What is known of the verified audit log moves on with every transaction, so two threads that compare rows with it must
not share it. The ledger that was used last is used next: under a light load one of them does all the work, and only its
picture of the log is kept up to date.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ledger.errors import BusyError, UnreachableError
from ledger.service.ledger import Ledger


class LedgerPool:
    """Lends opened ledgers.

    Args:
        opener: Opens one more.
        most: How many there are at most.
        patience: Seconds that a borrower waits for one.

    Who is going to write gets at most half of them: a database takes one writer at a time, and those who wait for that
    would keep whoever only reads waiting with them.
    """

    def __init__(self, opener: Callable[[], Ledger], most: int, patience: float) -> None:
        self._opener = opener
        self._patience = patience
        self._free: queue.LifoQueue[_Slot] = queue.LifoQueue()
        self._writers = threading.BoundedSemaphore(max(1, most // 2))
        self._lock = threading.Lock()
        self._outages = 0
        self._closed = False
        for _ in range(most):
            self._free.put(_Slot())

    @contextmanager
    def borrow(self, actor: str = "", *, writes: bool = False) -> Iterator[Ledger]:
        """Lend a ledger to one thread.

        Args:
            actor: Who acts.
            writes: Whether it is going to write.

        Raises:
            BusyError: All are in use, and stay so.
        """
        if not writes:
            with self._lent(actor) as ledger:
                yield ledger
            return
        if not self._writers.acquire(timeout=self._patience):
            raise _busy()
        try:
            with self._lent(actor) as ledger:
                yield ledger
        finally:
            self._writers.release()

    @contextmanager
    def _lent(self, actor: str) -> Iterator[Ledger]:
        try:
            slot = self._free.get(timeout=self._patience)
        except queue.Empty:
            raise _busy() from None
        try:
            ledger = self._opened(slot)
            ledger.actor = actor
            yield ledger
        except UnreachableError:
            with self._lock:
                self._outages += 1
            raise
        finally:
            if self._closed:
                slot.close()
            self._free.put(slot)

    def _opened(self, slot: "_Slot") -> Ledger:
        if slot.ledger is None:
            slot.ledger = self._opener()
        elif slot.outages != self._outages:
            # The database was away: connections from before that are of no use.
            slot.ledger.close()
        slot.outages = self._outages
        return slot.ledger

    def close(self) -> None:
        """Close every ledger that is not in use now, and those in use when they come back."""
        self._closed = True
        slots = []
        while not self._free.empty():
            slots.append(self._free.get_nowait())
        for slot in slots:
            slot.close()
            self._free.put(slot)


def _busy() -> BusyError:
    return BusyError("the server has too much to do", "try again in a moment")


class _Slot:
    """A place for an opened ledger; it is opened when first needed."""

    def __init__(self) -> None:
        self.ledger: Ledger | None = None
        self.outages = 0

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.close()
            self.ledger = None
