"""Deliver messages to webhooks, with retries: by a worker that stays, and by every server beside it.

An event and what tells of it are one entry of the audit log, so no event is told that did not happen and none is left
out. From the entries messages are prepared, once for each webhook; then each is sent until its receiver takes it, at
growing distances and for about three days. A receiver may get a message twice, and then under the same name.
"""

import logging
import random
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice

from ledger.domain.webhooks import Delivery, DeliveryState, Webhook
from ledger.errors import LedgerError, RowError
from ledger.service.ledger import Ledger, open_ledger
from ledger.service.requests.heartbeat import repeatedly
from ledger.service.retry import retry_when_busy

from .addresses import endpoint
from .messages import event_message, signed_headers, try_message
from .registration import signing_key
from .transport import TIMEOUT, Answer, post

logger = logging.getLogger("unledger.webhooks")
logger.addHandler(logging.NullHandler())

PAUSES = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds after each failed attempt, as Standard Webhooks recommends; after the last one a message is given up."""
JITTER = 0.1
"""Share by which pauses differ, so that many messages do not come at once."""
ATTEMPT_SECONDS = 6 * TIMEOUT
"""After so long without an answer whoever sent a message is taken for dead, and it is sent again."""
LOOK_SECONDS = 2.0
PART = 500
"""Entries that messages are prepared from at a time."""
ENDED_ARE_KEPT = timedelta(days=30)


def prepare_messages(ledger: Ledger) -> int:
    """Prepare messages from the entries that are new, and return how many.

    Raises:
        LedgerError: The database is away.
    """
    prepared = 0
    with ledger.database.read() as tx:
        size = tx.audit.head().size
        behind = tx.webhooks.behind(size)
        models = {model.name: model.id for model in tx.models.all()} if behind else {}
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
        most: How many to send at most.
        go_on: Asked before each.

    Raises:
        LedgerError: The database is away.
    """
    prepare_messages(ledger)
    sent: list[Delivery] = []
    while len(sent) < most and go_on():
        with ledger.database.touch() as tx:
            claimed = tx.webhooks.claim(ttl=ATTEMPT_SECONDS)
        if claimed is None:
            break
        sent.append(_note(ledger, claimed, _attempt(ledger, claimed)))
    return sent


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
    return _note(ledger, delivery, _attempt(ledger, delivery), again=False)


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
    """Deliver messages from a thread of its own while the block runs."""
    deliverer = _Deliverer(ledger)
    with repeatedly(deliverer.deliver, interval, name="webhooks"):
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
        self._own: Ledger | None = None
        self.leaving = threading.Event()

    def deliver(self) -> None:
        """Deliver what is due; what fails is tried again next time."""
        try:
            for one in deliver_due(self._ledger(), go_on=lambda: not self.leaving.is_set()):
                logger.info("message %s to webhook %d is %s", one.message, one.webhook_id, one.state.value)
        except LedgerError as error:
            logger.debug("messages to webhooks wait: %s", error.message)
        except Exception:
            # Whatever it is, the messages behind this one are not at fault.
            logger.exception("a message to a webhook could not be sent")

    def close(self) -> None:
        """Close the ledger."""
        if self._own is not None:
            self._own.close()

    def _ledger(self) -> Ledger:
        # Opened when it is needed: the database may be away when a process starts.
        if self._own is None:
            self._own = open_ledger(self._opened_by.config, self._opened_by.actor, self._opened_by.clock)
        return self._own


def _attempt(ledger: Ledger, delivery: Delivery) -> Answer:
    """Send a message, if its webhook is the one that the audit log tells of and leads where it may."""
    try:
        with ledger.database.read() as tx:
            webhook: Webhook = tx.webhooks.get(delivery.webhook_id)
            tx.trusted.webhook(webhook.id)
            salt = tx.webhooks.salt(webhook.id)
        to = endpoint(webhook.url, ledger.config.webhooks)
        key = signing_key(ledger.config, salt)
    except RowError:
        return Answer(None, "not sent: the webhook is not what the audit log says")
    except LedgerError as error:
        return Answer(None, f"not sent: {error.message}")
    headers = signed_headers(key, delivery.message, delivery.payload, ledger.clock())
    return post(to, headers, delivery.payload.encode())


def _note(ledger: Ledger, delivery: Delivery, answer: Answer, *, again: bool = True) -> Delivery:
    """Note what became of an attempt."""
    left = PAUSES[delivery.attempts - 1 :] if again and not answer.is_final else ()

    def transaction() -> Delivery:
        now = ledger.clock()
        with ledger.database.touch() as tx:
            if answer.arrived or not left:
                state = DeliveryState.DELIVERED if answer.arrived else DeliveryState.GIVEN_UP
                tx.webhooks.ended(delivery.id, state, at=now, status=answer.status, detail=answer.detail)
                tx.webhooks.forget(ended_before=now - ENDED_ARE_KEPT)
            else:
                pause = left[0] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
                tx.webhooks.failed(delivery.id, pause=pause, status=answer.status, detail=answer.detail)
            # Somebody may have removed the webhook meanwhile.
            return tx.webhooks.delivery(delivery.id) or delivery

    return retry_when_busy(transaction)
