"""Documents of those who ask from afar: tokens, and webhooks with the messages to them."""

from collections.abc import Iterable
from datetime import datetime

from ledger.domain.access import Token, WebSession, sorted_scopes
from ledger.domain.webhooks import Delivery, Webhook

from .document import Document, document, listing


def token_part(token: Token, now: datetime) -> Document:
    """Return a token, without what lets somebody in."""
    return {
        "id": token.id,
        "name": token.name,
        "scopes": [scope.value for scope in sorted_scopes(token.scopes)],
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
        "valid": token.is_valid(now),
    }


def tokens_document(tokens: Iterable[Token], now: datetime) -> Document:
    """Return tokens, the oldest first."""
    return listing("tokens", (token_part(token, now) for token in tokens))


def token_document(token: Token, now: datetime, text: str | None = None) -> Document:
    """Return one token.

    Args:
        token: The token.
        now: The time that it is valid at.
        text: What lets somebody in, of a token that was just made.
    """
    return document("token", {**token_part(token, now), "text": text})


def sessions_document(sessions: Iterable[WebSession]) -> Document:
    """Return the browser sessions that are open, the oldest first, without what lets somebody in."""
    return listing(
        "sessions",
        (
            {
                "id": one.id,
                "name": one.caller.name,
                "scopes": [scope.value for scope in sorted_scopes(one.caller.scopes)],
                "via": one.caller.via,
                "token": one.caller.token,
                "created_at": one.created_at,
                "expires_at": one.expires_at,
            }
            for one in sessions
        ),
    )


def sessions_ended_document(name: str | None, count: int) -> Document:
    """Return whose sessions were ended, and how many were open."""
    return document("sessions_ended", {"name": name, "ended": count})


def webhook_part(webhook: Webhook) -> Document:
    """Return a webhook, without the secret that its messages are signed with."""
    return {
        "id": webhook.id,
        "url": webhook.url,
        "kinds": list(webhook.kinds),
        "created_at": webhook.created_at,
    }


def webhooks_document(webhooks: Iterable[Webhook]) -> Document:
    """Return webhooks, the oldest first."""
    return listing("webhooks", map(webhook_part, webhooks))


def webhook_document(webhook: Webhook, secret: str | None = None) -> Document:
    """Return one webhook.

    Args:
        webhook: The webhook.
        secret: What its messages are signed with, of a webhook that was just added.
    """
    return document("webhook", {**webhook_part(webhook), "secret": secret})


def delivery_part(delivery: Delivery) -> Document:
    """Return a message to a webhook, and what became of it."""
    return {
        "id": delivery.id,
        "webhook": delivery.webhook_id,
        "message": delivery.message,
        "kind": delivery.kind,
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "status": delivery.status,
        "detail": delivery.detail,
        "created_at": delivery.created_at,
        "ended_at": delivery.ended_at,
    }


def deliveries_document(deliveries: Iterable[Delivery]) -> Document:
    """Return messages to a webhook, the newest first."""
    return listing("deliveries", map(delivery_part, deliveries))


def delivery_document(delivery: Delivery) -> Document:
    """Return one message to a webhook."""
    return document("delivery", delivery_part(delivery))
