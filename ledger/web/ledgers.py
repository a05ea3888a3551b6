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
    """

    def __init__(self, opener: Callable[[], Ledger], most: int, patience: float) -> None:
        self._opener = opener
        self._patience = patience
        self._free: queue.LifoQueue[_Slot] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._outages = 0
        self._closed = False
        for _ in range(most):
            self._free.put(_Slot())

    @contextmanager
    def borrow(self, actor: str = "") -> Iterator[Ledger]:
        """Lend a ledger to one thread.

        Args:
            actor: Who acts.

        Raises:
            BusyError: All are in use, and stay so.
        """
        try:
            slot = self._free.get(timeout=self._patience)
        except queue.Empty:
            raise BusyError("the server has too much to do", "try again in a moment") from None
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


class _Slot:
    """A place for an opened ledger; it is opened when first needed."""

    def __init__(self) -> None:
        self.ledger: Ledger | None = None
        self.outages = 0

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.close()
            self.ledger = None
