"""One attempt to deliver a message: claimed, sent, and noted with what became of it."""

import random
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

from ledger.domain.webhooks import Delivery, DeliveryState, Webhook
from ledger.errors import LedgerError, RowError
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy

from .addresses import endpoint
from .messages import signed_headers
from .registration import signing_key
from .transport import TIMEOUT, Answer, post

PAUSES = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds after each failed attempt, as Standard Webhooks recommends; after the last one a message is given up."""
JITTER = 0.1
"""Share by which pauses differ, so that many messages do not come at once."""
ATTEMPT_SECONDS = 6 * TIMEOUT
"""After so long without an answer whoever sent a message is taken for dead, and it is sent again."""
HOLDING = 3
"""Attempts with which a message holds up those behind it, to the same address; then they go first."""
ENDED_ARE_KEPT = timedelta(days=30)


def claim(ledger: Ledger, webhook: int) -> Delivery | None:
    """Take the next message to a webhook; None if none is to be sent now, or one before it is being sent."""
    with ledger.database.touch() as tx:
        return tx.webhooks.claim(webhook, ttl=ATTEMPT_SECONDS, holding=HOLDING)


def attempt(ledger: Ledger, delivery: Delivery, turn: AbstractContextManager[object] | None = None) -> Answer:
    """Send a message, if its webhook is the one that the audit log tells of and leads where it may.

    Args:
        ledger: The ledger.
        delivery: The message.
        turn: Held while the ledger is asked, and not while the message is on its way.
    """
    try:
        with turn or nullcontext(), ledger.database.read() as tx:
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


def note(ledger: Ledger, delivery: Delivery, answer: Answer, *, again: bool = True) -> Delivery:
    """Note what became of an attempt, and return the message as it is now."""
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
