"""Events that concern who may ask a ledger for something, and who is told of what happens in it."""

from dataclasses import dataclass
from datetime import datetime
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
class SessionOpened(Event):
    """Written when somebody logs in with a browser, in their name. No session is good without such an entry."""

    kind: ClassVar[str] = EventKind.SESSION_OPENED
    session: str
    """What names the session; not what the browser shows."""
    via: str
    """How it is known who they are: ``token``, ``link`` or ``oidc``."""
    scopes: tuple[str, ...]
    """What they may do in it."""
    expires_at: datetime
    """From then on it lets nobody in."""
    token: str | None = None
    """What names the token that they logged in with."""


@dataclass(frozen=True, kw_only=True)
class SessionEnded(Event):
    """Written when somebody logs out: from then on the session lets nobody in."""

    kind: ClassVar[str] = EventKind.SESSION_ENDED
    session: str
    """What names the session."""


@dataclass(frozen=True, kw_only=True)
class SessionsEnded(Event):
    """Written when somebody ends all sessions of a person, or of everybody."""

    kind: ClassVar[str] = EventKind.SESSIONS_ENDED
    of: str | None
    """Whose; None for everybody's."""
    sessions: tuple[str, ...]
    """What names the sessions that were open."""


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
