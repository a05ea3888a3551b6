"""One queue for whoever files requests: those who wait while others are filed are filed together, next.

A database takes one write at a time. Whoever comes first files; whoever comes meanwhile waits without holding a ledger,
and the next transaction files for all of them. So fifty callers wait for a few transactions, and none for fifty.
"""

import threading
from dataclasses import dataclass, field

from ledger.desk.local.filing import Asked, file_together
from ledger.documents.document import Document
from ledger.errors import BusyError, LedgerError, UnreachableError

from .ledgers import LedgerPool

MOST_TOGETHER = 100
"""Requests that are filed in one transaction for several callers; other writers wait for it."""


@dataclass(eq=False)
class _Waiting:
    """Somebody's place in the queue."""

    asked: Asked
    woken: threading.Event = field(default_factory=threading.Event)
    taken: bool = False
    """Whether somebody files for them now."""
    outcome: Document | LedgerError | None = None


class FilingQueue:
    """Files for one caller after another, or for many at the same time.

    Args:
        pool: Lends ledgers.
        patience: Seconds that a caller waits for their turn.
    """

    def __init__(self, pool: LedgerPool, patience: float) -> None:
        self._pool = pool
        self._patience = patience
        self._lock = threading.Lock()
        self._queue: list[_Waiting] = []
        self._filing = False
        """Whether somebody files now, who wakes the next in the queue at the end."""

    def file(self, asked: Asked) -> Document:
        """File what a caller asks for, perhaps together with what others ask for; return their document.

        Raises:
            BusyError: Their turn did not come in time; nothing was filed.
            LedgerError: As the desk raises it.
        """
        place = _Waiting(asked)
        with self._lock:
            self._queue.append(place)
            first, self._filing = not self._filing, True
        if not first and not place.woken.wait(self._patience) and self._leave(place):
            raise BusyError("the server has too much to do", "try again in a moment")
        # Whoever was taken is filed for: that takes as long as the database takes.
        if place.taken:
            place.woken.wait()
        else:
            self._file_next()
        if isinstance(place.outcome, LedgerError):
            raise place.outcome.with_traceback(None)
        if place.outcome is None:
            raise AssertionError("whoever filed for this caller failed")
        return place.outcome

    def _leave(self, place: _Waiting) -> bool:
        """Leave the queue, unless it is their turn by now."""
        with self._lock:
            if place.taken or place.woken.is_set():
                return False
            self._queue.remove(place)
            return True

    def _file_next(self) -> None:
        """File for the first in the queue, and for those behind them as far as they fit in."""
        with self._lock:
            taken = self._take()
        try:
            with self._pool.borrow(writes=True) as ledger:
                outcomes = file_together(ledger, [one.asked for one in taken])
                for place, outcome in zip(taken, outcomes, strict=True):
                    place.outcome = outcome
                lost = next((one for one in outcomes if isinstance(one, UnreachableError)), None)
                if lost is not None:
                    # Whoever lends ledgers must see it: this one is of no use any more.
                    raise lost
        except LedgerError as error:
            for place in taken:
                place.outcome = place.outcome or error
        finally:
            with self._lock:
                self._filing = bool(self._queue)
                if self._queue:
                    self._queue[0].woken.set()
            for place in taken:
                place.woken.set()

    def _take(self) -> list[_Waiting]:
        room, count = MOST_TOGETHER, 0
        for place in self._queue:
            room -= len(place.asked.filed)
            if count and room < 0:
                break
            count += 1
            place.taken = True
        taken, self._queue = self._queue[:count], self._queue[count:]
        return taken
