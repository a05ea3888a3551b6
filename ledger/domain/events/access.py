"""Events that concern who may ask a ledger for something, and who is told of what happens in it."""

from dataclasses import dataclass
from typing import ClassVar

from .event import Event, EventKind


@dataclass(frozen=True, kw_only=True)
class TokenCreated(Event):
    """Written when a token is made, in the transaction that stores it. Nothing else lets a token in."""

    kind: ClassVar[str] = EventKind.TOKEN_CREATED
    token: str
    """What names the token; not its secret."""
    scopes: tuple[str, ...]
    """What it allows."""
    row: str
    """Digest of the stored row: name, scopes, end and the digest of the secret."""


@dataclass(frozen=True, kw_only=True)
class TokenRevoked(Event):
    """Written when a token is revoked: from then on it lets nobody in."""

    kind: ClassVar[str] = EventKind.TOKEN_REVOKED
    token: str
    """What names the token."""


@dataclass(frozen=True, kw_only=True)
class WebhookAdded(Event):
    """Written when an address is to be told of events."""

    kind: ClassVar[str] = EventKind.WEBHOOK_ADDED
    webhook: int
    """Number of the webhook."""
    kinds: tuple[str, ...]
    """Kinds of events that it is told of; none for all."""
    row: str
    """Digest of the stored row: address, kinds and what its secret is derived from."""


@dataclass(frozen=True, kw_only=True)
class WebhookRemoved(Event):
    """Written when an address is not told any more."""

    kind: ClassVar[str] = EventKind.WEBHOOK_REMOVED
    webhook: int
    """Number of the webhook."""
