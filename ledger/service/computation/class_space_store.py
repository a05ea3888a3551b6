"""Store class spaces that were just collected: several in one transaction where they are quickly there."""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ledger.domain.class_spaces import ClassSpace, NewClassSpace
from ledger.errors import LedgerError
from ledger.service.objects import store_objects
from ledger.service.versions.recording import append_class_spaces, append_renewed_class_space

from .workbench import Workbench

Collected = tuple[NewClassSpace, bytes]
"""The record of a class space that is not stored yet, and its bytes."""
WAIT_SECONDS = 1.0
"""What this process collects in that time is stored together: so much work may be lost with a worker that is killed,
beside what it was about to collect. Every transaction that writes keeps all other writers waiting."""
WAIT_BYTES = 2**24
"""Of class spaces that wait, after which none waits longer."""


class ClassSpaceStore:
    """Stores the class spaces of a model.

    Args:
        workbench: The model.
    """

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self._ledger = workbench.ledger

    def add_each(self, collected: Iterable[Collected]) -> None:
        """Store class spaces that the ledger lacks, while they are being collected.

        What others collect, several at a time, is stored at once: it may have taken them long. Whatever interrupts
        their collection, those that were collected are stored.
        """
        left, waiting = iter(collected), list[Collected]()
        patience = WAIT_SECONDS if self._ledger.engine.one_at_a_time else 0.0
        since = time.monotonic()
        while True:
            try:
                one = next(left)
            except StopIteration:
                break
            except BaseException:
                # What interrupted the work is what shall be told, not that its results could not be stored either.
                with suppress(LedgerError):
                    self.add(waiting)
                raise
            waiting.append(one)
            if time.monotonic() - since >= patience or sum(len(data) for _, data in waiting) >= WAIT_BYTES:
                self.add(waiting)
                waiting, since = [], time.monotonic()
        self.add(waiting)

    def add(self, collected: Sequence[Collected]) -> list[ClassSpace]:
        """Store class spaces that the ledger lacks: their bytes, then their records together with the audit events.

        Returns:
            Their records as stored.
        """
        if not collected:
            return []
        store_objects(self._ledger, [data for _, data in collected])
        with self._ledger.database.write() as tx:
            records = [record for record, _ in collected]
            return append_class_spaces(tx, self._workbench.model, records, actor=self._ledger.actor)

    def renew(self, record: NewClassSpace, data: bytes) -> ClassSpace:
        """Store a class space again whose bytes were lost; return its record as stored."""
        store_objects(self._ledger, [data])
        with self._ledger.database.write() as tx:
            return append_renewed_class_space(tx, self._workbench.model, record, actor=self._ledger.actor)
