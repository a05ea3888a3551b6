"""Messages to webhooks, as Standard Webhooks has them (https://www.standardwebhooks.com).

A message says that something happened, and to what: kinds, numbers and states. It holds no class names, no reasons and
no people: whoever is told looks at the ledger for more, and needs to be let in there.
"""

import base64
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ledger.audit.events import AuditEvent
from ledger.digest import sha256_hex
from ledger.domain.webhooks import TEST_KIND, Webhook

PREFIX = "msg_"
ID_LENGTH = 32
SCHEME = "v1"


def event_message(webhook: Webhook, event: AuditEvent, models: Mapping[str, int]) -> dict[str, Any]:
    """Return the message that tells a webhook of an event.

    Its name is that of the entry's hash: whoever prepares it again, after a crash or from a backup, names it alike.

    Args:
        webhook: Who is told.
        event: What happened.
        models: Numbers of models by name.
    """
    data = {
        "seq": event.seq,
        "model": None if event.model is None else models.get(event.model),
        "request": event.request_id,
        "version": _number(event.data.get("version")),
        "state": _text(event.data.get("state")),
    }
    message = PREFIX + sha256_hex(f"{webhook.id}\n{event.digest}".encode())[:ID_LENGTH]
    return _message(message, event.kind, event.at, data)


def try_message(webhook: Webhook, salt: str, at: datetime) -> dict[str, Any]:
    """Return a message that tells of no event: somebody tries whether messages arrive."""
    message = PREFIX + sha256_hex(f"{webhook.id}\n{salt}".encode())[:ID_LENGTH]
    return _message(message, TEST_KIND, at, {"webhook": webhook.id})


def signed_headers(key: bytes, message: str, payload: str, at: datetime) -> dict[str, str]:
    """Return the headers of one attempt to deliver a message.

    Args:
        key: What it is signed with.
        message: Names the message.
        payload: What is sent.
        at: When it is sent: receivers refuse what is old.
    """
    second = int(at.timestamp())
    signature = hmac.digest(key, f"{message}.{second}.{payload}".encode(), "sha256")
    return {
        "content-type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": str(second),
        "webhook-signature": f"{SCHEME},{base64.b64encode(signature).decode()}",
    }


def _message(message: str, kind: str, at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    payload = json.dumps({"type": kind, "timestamp": at.isoformat(), "data": data}, separators=(",", ":"))
    return {"message": message, "kind": kind, "payload": payload, "created_at": at}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
