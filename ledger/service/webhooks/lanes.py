"""Lanes: one for each address, in which its messages go one after another, while those of others go beside them.

A receiver that answers slowly, or not at all, holds up its own messages and nobody else's. So that many slow ones
cannot take every thread for long, a lane is left after a while, and waits for its turn again.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from ledger.domain.webhooks import Delivery
from ledger.service.ledger import Ledger

from .attempts import attempt, claim, note

MOST_AT_ONCE = 8
"""Addresses that messages are sent to at the same time."""
TURN_SECONDS = 10.0
"""After so long a lane waits for its turn again; an attempt that has begun is ended first."""


class Lanes:
    """Sends what is due. Leaving the block waits for attempts that have begun.

    Args:
        ledger: The ledger. Threads ask it one at a time.
        most_at_once: How many addresses messages are sent to at the same time.
    """

    def __init__(self, ledger: Ledger, most_at_once: int = MOST_AT_ONCE) -> None:
        self._ledger = ledger
        self._turn = threading.Lock()
        self._begun: dict[int, Future[list[Delivery]]] = {}
        self._threads = ThreadPoolExecutor(most_at_once, thread_name_prefix="webhooks")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    @property
    def turn(self) -> threading.Lock:
        """Held by whoever asks the ledger."""
        return self._turn

    def begin(self, most: int, go_on: Callable[[], bool]) -> list[Future[list[Delivery]]]:
        """Begin to send to every address that something is due for, and that nothing is being sent to.

        Args:
            most: How many messages to send to each at most.
            go_on: Asked before each message.

        Returns:
            What was sent to each, once it was.

        Raises:
            LedgerError: The database is away.
        """
        with self._turn, self._ledger.database.read() as tx:
            due = tx.webhooks.due()
        begun = []
        for number in due:
            running = self._begun.get(number)
            if running is None or running.done():
                self._begun[number] = self._threads.submit(self._send, number, most, go_on)
                begun.append(self._begun[number])
        return begun

    def _send(self, number: int, most: int, go_on: Callable[[], bool]) -> list[Delivery]:
        sent: list[Delivery] = []
        until = time.monotonic() + TURN_SECONDS
        while len(sent) < most and go_on():
            with self._turn:
                claimed = claim(self._ledger, number)
            if claimed is None:
                break
            answer = attempt(self._ledger, claimed, self._turn)
            with self._turn:
                sent.append(note(self._ledger, claimed, answer))
            if time.monotonic() >= until:
                break
        return sent
