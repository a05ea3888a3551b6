"""Tokens, webhooks and previews of a server's ledger."""

from collections.abc import Collection, Sequence
from datetime import datetime

from ledger.desk.asked import ModelKey
from ledger.documents.document import Document
from ledger.domain.access import Scope, sorted_scopes

from .client import ServerClient
from .names import ModelNames, identified, numbered
from .requests import index_or_label


class RemoteAccess:
    """Asks about tokens.

    Args:
        client: The server.
    """

    def __init__(self, client: ServerClient) -> None:
        self._client = client

    def all(self) -> Document:
        """Return every token, those that let nobody in any more included, the oldest first."""
        return self._client.get("/tokens")

    def create(self, name: str, scopes: Collection[Scope], expires_at: datetime | None = None) -> Document:
        """Make a token; only this answer holds the text that lets somebody in."""
        ends = None if expires_at is None else expires_at.isoformat()
        body = {"name": name, "scopes": [scope.value for scope in sorted_scopes(scopes)], "expires_at": ends}
        return self._client.post("/tokens", body)

    def revoke(self, token: str) -> Document:
        """Let nobody in with a token any more.

        Raises:
            NotFoundError: There is none of this id.
        """
        name = identified("token", token, "see: unledger token list")
        return self._client.post(f"/tokens/{name}/revocation", {})

    def sessions(self) -> Document:
        """Return the browser sessions that are open, the oldest first."""
        return self._client.get("/sessions")

    def end_sessions(self, name: str | None) -> Document:
        """End every session of a person, or of everybody where no name is given."""
        return self._client.post("/sessions/endings", {"name": name})


class RemoteWebhooks:
    """Asks about who is told of events.

    Args:
        client: The server.
    """

    def __init__(self, client: ServerClient) -> None:
        self._client = client

    def all(self) -> Document:
        """Return every webhook, the oldest first."""
        return self._client.get("/webhooks")

    def add(self, url: str, kinds: Sequence[str] = ()) -> Document:
        """Let an address be told of events; only this answer holds the secret that its messages are signed with."""
        return self._client.post("/webhooks", {"url": url, "kinds": list(kinds)})

    def remove(self, webhook: int) -> Document:
        """Tell an address nothing any more."""
        return self._client.delete(_webhook(webhook))

    def test(self, webhook: int) -> Document:
        """Send a message that tells of no event, once and now; return what became of it."""
        return self._client.post(f"{_webhook(webhook)}/tests", {})

    def deliveries(self, webhook: int, *, limit: int = 50) -> Document:
        """Return the newest messages to an address, the newest first."""
        return self._client.get(f"{_webhook(webhook)}/deliveries", limit=limit)


class RemotePreviews:
    """Asks for previews, which a worker beside the server computes.

    Args:
        client: The server.
        names: Finds models by name.
    """

    def __init__(self, client: ServerClient, names: ModelNames) -> None:
        self._client = client
        self._names = names

    def ask(self, model: ModelKey, classes: Sequence[str]) -> Document:
        """Ask for a preview."""
        body = {"classes": [index_or_label(text) for text in classes]}
        return self._client.post(f"/models/{self._names.number(model)}/previews", body)

    def show(self, preview: str) -> Document:
        """Return a preview that was asked for, with its answer once a worker has computed it.

        Raises:
            NotFoundError: There is none of this id.
        """
        return self._client.get(f"/previews/{identified('preview', preview)}")


def _webhook(number: int) -> str:
    return f"/webhooks/{numbered('webhook', number, 'webhook list')}"
