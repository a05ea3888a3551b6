"""Tokens and webhooks, as documents."""

from collections.abc import Collection, Sequence
from datetime import datetime

from ledger.documents import access as documents
from ledger.documents.document import Document
from ledger.domain.access import Scope
from ledger.service.access.sessions import end_sessions, list_sessions
from ledger.service.access.tokens import create_token, list_tokens, revoke_token
from ledger.service.ledger import Ledger
from ledger.service.webhooks.delivery import list_deliveries, send_test
from ledger.service.webhooks.registration import add_webhook, list_webhooks, remove_webhook


class LocalAccess:
    """Answers questions about tokens and sessions.

    Args:
        ledger: The ledger; its actor makes, revokes and ends them.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def all(self) -> Document:
        """Return every token, those that let nobody in any more included, the oldest first.

        Raises:
            RowError: One is not what the audit log says.
        """
        return documents.tokens_document(list_tokens(self._ledger), self._ledger.clock())

    def create(self, name: str, scopes: Collection[Scope], expires_at: datetime | None = None) -> Document:
        """Make a token; only this answer holds the text that lets somebody in.

        Raises:
            UsageError: The name is none, there are no scopes, or it would have expired already.
        """
        token, text = create_token(self._ledger, name, scopes, expires_at)
        return documents.token_document(token, self._ledger.clock(), text)

    def revoke(self, token: str) -> Document:
        """Let nobody in with a token any more.

        Raises:
            NotFoundError: There is no such token.
            ConflictError: It was revoked before.
        """
        return documents.token_document(revoke_token(self._ledger, token), self._ledger.clock())

    def sessions(self) -> Document:
        """Return the browser sessions that are open, the oldest first."""
        return documents.sessions_document(list_sessions(self._ledger))

    def end_sessions(self, name: str | None) -> Document:
        """End every session of a person, or of everybody where no name is given.

        Raises:
            UsageError: The name is none.
        """
        return documents.sessions_ended_document(name, end_sessions(self._ledger, name))


class LocalWebhooks:
    """Answers questions about who is told of events.

    Args:
        ledger: The ledger; its actor adds and removes webhooks.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def all(self) -> Document:
        """Return every webhook, the oldest first.

        Raises:
            RowError: One is not what the audit log says.
        """
        return documents.webhooks_document(list_webhooks(self._ledger))

    def add(self, url: str, kinds: Sequence[str] = ()) -> Document:
        """Let an address be told of events; only this answer holds the secret that its messages are signed with.

        Raises:
            UsageError: The address is none, or events of a kind never happen.
            RefusedError: The address lies in a network that is not public.
        """
        return documents.webhook_document(*add_webhook(self._ledger, url, kinds))

    def remove(self, webhook: int) -> Document:
        """Tell an address nothing any more.

        Raises:
            NotFoundError: There is no such webhook.
        """
        return documents.webhook_document(remove_webhook(self._ledger, webhook))

    def test(self, webhook: int) -> Document:
        """Send a message that tells of no event, once and now; return what became of it.

        Raises:
            NotFoundError: There is no such webhook.
        """
        return documents.delivery_document(send_test(self._ledger, webhook))

    def deliveries(self, webhook: int, *, limit: int = 50) -> Document:
        """Return the newest messages to an address, the newest first.

        Raises:
            NotFoundError: There is no such webhook.
        """
        return documents.deliveries_document(list_deliveries(self._ledger, webhook, limit=limit))
