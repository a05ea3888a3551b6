"""Add and remove webhooks, bound to the audit history: a row that somebody writes into the database is told nothing.

The secret that messages are signed with is stored nowhere. It is derived from the signing key and a random salt in the
row, so a copy of the database gives nobody the means to forge a message, and a backup with its keys goes on signing.
"""

import base64
import secrets
from collections.abc import Iterable

from ledger.config import Config
from ledger.domain.events.access import WebhookAdded, WebhookRemoved
from ledger.domain.webhooks import Webhook, read_kinds, read_url
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.service.signing import derived_key

from .addresses import require_reachable

SECRETS = b"unledger: secrets of webhooks"
SECRET_PREFIX = "whsec_"  # noqa: S105 - no secret
"""How Standard Webhooks marks a secret."""
SALT_BYTES = 32


def add_webhook(ledger: Ledger, url: str, kinds: Iterable[str] = ()) -> tuple[Webhook, str]:
    """Let an address be told of events from now on; return it with the secret that its messages are signed with.

    Args:
        ledger: The ledger.
        url: The address: ``https://``, or ``http://`` in a network that ``unledger.toml`` allows.
        kinds: Kinds of events, such as ``request.fulfilled`` or ``request.*``; none for all.

    Raises:
        UsageError: The address is none, or events of a kind never happen.
        RefusedError: The address lies in a network that is not public.
    """
    address, wanted, salt = read_url(url), read_kinds(kinds), secrets.token_hex(SALT_BYTES)
    require_reachable(address, ledger.config.webhooks)

    def transaction() -> Webhook:
        now = ledger.clock()
        with ledger.database.write() as tx:
            webhook = Webhook(tx.webhooks.next_id(), address, wanted, now)
            tx.trusted.unrecorded("webhooks", [(webhook.id,)])
            # Its own entry is the first that it is not told of.
            tx.webhooks.add(webhook, salt=salt, told=tx.audit.head().size + 1)
            row = tx.projections.digest("webhooks", id=webhook.id)
            event = WebhookAdded(webhook=webhook.id, kinds=wanted, row=row)
            tx.audit.append(event, at=now, actor=ledger.actor)
        return webhook

    return retry_when_busy(transaction), signing_secret(ledger.config, salt)


def list_webhooks(ledger: Ledger) -> list[Webhook]:
    """Return every webhook, the oldest first.

    Raises:
        RowError: One is not what the audit log says.
    """
    with ledger.database.read() as tx:
        tx.trusted.webhooks()
        return tx.webhooks.all()


def remove_webhook(ledger: Ledger, number: int) -> Webhook:
    """Tell an address nothing any more; messages that wait for it are dropped.

    Raises:
        NotFoundError: There is no such webhook.
    """

    def transaction() -> Webhook:
        now = ledger.clock()
        with ledger.database.write() as tx:
            webhook = tx.webhooks.get(number)
            tx.trusted.webhook(number)
            tx.webhooks.remove(number)
            tx.audit.append(WebhookRemoved(webhook=number), at=now, actor=ledger.actor)
        return webhook

    return retry_when_busy(transaction)


def signing_secret(config: Config, salt: str) -> str:
    """Return the secret of a webhook, as its receiver needs it."""
    return SECRET_PREFIX + base64.b64encode(signing_key(config, salt)).decode()


def signing_key(config: Config, salt: str) -> bytes:
    """Return the bytes that messages are signed with."""
    return derived_key(config, SECRETS, salt=bytes.fromhex(salt))
