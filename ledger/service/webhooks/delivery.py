"""Deliver messages to webhooks, with retries: by a worker that stays, and by every server beside it.

An event and what tells of it are one entry of the audit log, so no event is told that did not happen and none is left
out. From the entries messages are prepared, once for each webhook; then each is sent until its receiver takes it, at
growing distances and for about three days. A receiver may get a message twice, and then under the same name.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import islice

from ledger.domain.webhooks import Delivery
from ledger.errors import LedgerError
from ledger.service.ledger import Ledger, open_ledger
from ledger.service.requests.heartbeat import repeatedly
from ledger.service.retry import retry_when_busy

from .attempts import attempt, note
from .lanes import Lanes
from .messages import event_message, try_message

logger = logging.getLogger("unledger.webhooks")
logger.addHandler(logging.NullHandler())

LOOK_SECONDS = 2.0
PART = 500
"""Entries that messages are prepared from at a time."""


def prepare_messages(ledger: Ledger) -> int:
    """Prepare messages from the entries that are new, and return how many.

    Raises:
        LedgerError: The database is away.
    """
    prepared = 0
    with ledger.database.read() as tx:
        size = tx.audit.head().size
        behind = tx.webhooks.behind(size)
        models = {name: number for number, name in tx.models.names().items()} if behind else {}
    for webhook, told in behind:
        with ledger.database.read() as tx:
            events = list(islice(tx.audit.events(after=told), PART))
        wanted = [event_message(webhook, event, models) for event in events if webhook.wants(event.kind)]
        with ledger.database.touch() as tx:
            if events and tx.webhooks.prepare(webhook, wanted, told=told, upto=events[-1].seq):
                prepared += len(wanted)
    return prepared


def deliver_due(ledger: Ledger, *, most: int = PART, go_on: Callable[[], bool] = lambda: True) -> list[Delivery]:
    """Prepare messages, and send those whose time has come; return them as they are afterwards.

    Args:
        ledger: The ledger.
        most: How many to send to each address at most.
        go_on: Asked before each.

    Raises:
        LedgerError: The database is away.
    """
    prepare_messages(ledger)
    with Lanes(ledger) as lanes:
        return [one for lane in lanes.begin(most, go_on) for one in lane.result()]


def send_test(ledger: Ledger, number: int) -> Delivery:
    """Send a webhook a message that tells of no event, once and now; return what became of it.

    Raises:
        NotFoundError: There is no such webhook.
    """

    def transaction() -> Delivery:
        with ledger.database.touch() as tx:
            webhook = tx.webhooks.get(number)
            message = try_message(webhook, secrets.token_hex(16), ledger.clock())
            return tx.webhooks.add_delivery(number, message, waits=False)

    delivery = retry_when_busy(transaction)
    return note(ledger, delivery, attempt(ledger, delivery), again=False)


def list_deliveries(ledger: Ledger, number: int, *, limit: int = 50) -> list[Delivery]:
    """Return the newest messages to a webhook, the newest first.

    Raises:
        NotFoundError: There is no such webhook.
    """
    with ledger.database.read() as tx:
        tx.webhooks.get(number)
        return tx.webhooks.deliveries(number, limit=limit)


@contextmanager
def delivering(ledger: Ledger, interval: float = LOOK_SECONDS) -> Iterator[None]:
    """Deliver messages from a thread of its own while the block runs: at once where the database tells of news."""
    deliverer = _Deliverer(ledger)
    with (
        repeatedly(deliverer.deliver, interval, name="webhooks") as deliver_now,
        ledger.hearing(lambda _kinds: deliver_now()),
    ):
        try:
            yield
        finally:
            deliverer.leaving.set()
    deliverer.close()


class _Deliverer:
    """Delivers through a ledger of its own: what one has verified of the audit log is for one thread at a time.

    Args:
        ledger: The same ledger, opened by somebody else.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._opened_by = ledger
        self._own: tuple[Ledger, Lanes] | None = None
        self.leaving = threading.Event()

    def deliver(self) -> None:
        """Begin to deliver what is due; what fails is tried again next time."""
        try:
            ledger, lanes = self._opened()
            with lanes.turn:
                prepare_messages(ledger)
            for lane in lanes.begin(PART, lambda: not self.leaving.is_set()):
                lane.add_done_callback(_tell)
        except LedgerError as error:
            logger.debug("messages to webhooks wait: %s", error.message)
        except Exception:
            logger.exception("messages to webhooks could not be prepared")

    def close(self) -> None:
        """Wait for what is on its way, and close the ledger."""
        if self._own is not None:
            ledger, lanes = self._own
            with lanes:
                """What waits for its turn is left to whoever sends next."""
            ledger.close()

    def _opened(self) -> tuple[Ledger, Lanes]:
        # Opened when it is needed: the database may be away when a process starts.
        if self._own is None:
            ledger = open_ledger(self._opened_by.config, self._opened_by.actor, self._opened_by.clock)
            self._own = ledger, Lanes(ledger)
        return self._own


def _tell(lane: "Future[list[Delivery]]") -> None:
    """Log what was sent to one address."""
    if lane.cancelled():
        return
    error = lane.exception()
    if isinstance(error, LedgerError):
        logger.debug("messages to webhooks wait: %s", error.message)
    elif error is not None:
        # Whatever it is, the messages to others are not at fault.
        logger.error("a message to a webhook could not be sent", exc_info=error)
    else:
        for one in lane.result():
            logger.info("message %s to webhook %d is %s", one.message, one.webhook_id, one.state.value)
