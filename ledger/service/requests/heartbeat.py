"""Keep a claim alive while weights are computed: a thread prolongs its lease."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ledger.errors import LeaseLostError, LedgerError
from ledger.service.ledger import Ledger
from ledger.store.repositories.requests import Claim

HEARTBEATS_PER_LEASE = 3


class LeaseHeartbeat:
    """Prolongs the lease of a claim, and remembers if it was lost.

    It runs in a thread of its own, and so on a database connection of its own.

    Args:
        ledger: The ledger.
        claim: The claim to keep.
    """

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        self._ledger = ledger
        self._claim = claim
        self._lost = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Prolong the lease several times in its duration while the block runs."""
        with repeatedly(self._beat, self._claim.ttl / HEARTBEATS_PER_LEASE, name="lease heartbeat"):
            yield

    def _beat(self) -> None:
        try:
            with self._ledger.database.touch() as tx:
                tx.requests.extend(self._claim)
        except LeaseLostError:
            self._lost.set()
        except LedgerError:
            # The database is busy or away. The next heartbeat tries again, and the commit decides.
            return

    def require_lease(self) -> None:
        """Return if the lease was held at the last heartbeat.

        Raises:
            LeaseLostError: It was not.
        """
        if self._lost.is_set():
            raise LeaseLostError(
                f"the lease on request {self._claim.request.id} was lost while its weights were computed",
                "another worker may carry it out; nothing was written",
            )


@contextmanager
def repeatedly(act: Callable[[], None], interval: float, *, name: str) -> Iterator[Callable[[], None]]:
    """Call a function every ``interval`` seconds from a thread of its own while the block runs.

    Yields what calls it at once, or once more if it is being called; any thread may do so.
    """
    turn, ending = threading.Event(), threading.Event()

    def run() -> None:
        while True:
            turn.wait(interval)
            turn.clear()
            if ending.is_set():
                return
            act()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield turn.set
    finally:
        ending.set()
        turn.set()
        thread.join()
