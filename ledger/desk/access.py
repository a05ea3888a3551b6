"""What can be asked about those who ask from afar: tokens, webhooks, and previews that a worker computes."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from ledger.documents.document import Document
from ledger.domain.access import Scope

from .asked import ModelKey


class AccessDesk(Protocol):
    """Questions about tokens and sessions."""

    def all(self) -> Document:
        """Return every token, those that let nobody in any more included, the oldest first."""
        ...

    def create(self, name: str, scopes: Collection[Scope], expires_at: datetime | None = None) -> Document:
        """Make a token; only this answer holds the text that lets somebody in."""
        ...

    def revoke(self, token: str) -> Document:
        """Let nobody in with a token any more."""
        ...

    def sessions(self) -> Document:
        """Return the browser sessions that are open, the oldest first."""
        ...

    def end_sessions(self, name: str | None) -> Document:
        """End every session of a person, or of everybody where no name is given."""
        ...


class WebhooksDesk(Protocol):
    """Questions about who is told of events."""

    def all(self) -> Document:
        """Return every webhook, the oldest first."""
        ...

    def add(self, url: str, kinds: Sequence[str] = ()) -> Document:
        """Let an address be told of events; only this answer holds the secret that its messages are signed with."""
        ...

    def remove(self, webhook: int) -> Document:
        """Tell an address nothing any more."""
        ...

    def test(self, webhook: int) -> Document:
        """Send a message that tells of no event, once and now; return what became of it."""
        ...

    def deliveries(self, webhook: int, *, limit: int = 50) -> Document:
        """Return the newest messages to an address, the newest first."""
        ...


class PreviewsDesk(Protocol):
    """Previews that a worker computes."""

    def ask(self, model: ModelKey, classes: Sequence[str]) -> Document:
        """Ask for a preview.

        Args:
            model: The model.
            classes: Labels, or indices behind ``index:``.
        """
        ...

    def show(self, preview: str) -> Document:
        """Return a preview that was asked for, with its answer once a worker has computed it."""
        ...
