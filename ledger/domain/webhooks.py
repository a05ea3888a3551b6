"""Webhooks: addresses that are told of events, and the messages to them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlsplit

from ledger.domain.events.event import EventKind
from ledger.errors import UsageError

LONGEST_URL = 2000
TEST_KIND = "webhook.test"
"""Kind of a message that tells of no event."""
EVERY = ".*"
"""Ends what stands for every kind that begins alike: ``request.*``."""


class DeliveryState(StrEnum):
    """Where a message is."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class Webhook:
    """An address that is told of events. Its secret is not part of it."""

    id: int
    url: str
    kinds: tuple[str, ...]
    """Kinds of events, or ``request.*``; none for all."""
    created_at: datetime

    def wants(self, kind: str) -> bool:
        """Whether it is told of a kind of events."""
        return not self.kinds or any(
            kind == one or (one.endswith(EVERY) and kind.startswith(one.removesuffix("*"))) for one in self.kinds
        )


@dataclass(frozen=True)
class Delivery:
    """One message to a webhook."""

    id: int
    webhook_id: int
    message: str
    """Names the message to its receiver, the same at every attempt: who has seen it leaves it."""
    kind: str
    payload: str
    """JSON, as it is signed and sent."""
    state: DeliveryState
    attempts: int
    status: int | None
    """What the last attempt was answered, as HTTP numbers it; None where nothing answered."""
    detail: str
    """What happened at the last attempt, for people."""
    created_at: datetime
    ended_at: datetime | None


def read_kinds(names: Iterable[str]) -> tuple[str, ...]:
    """Return kinds of events by their names, each once.

    Raises:
        UsageError: Events of that kind never happen.
    """
    known = [kind.value for kind in EventKind]
    groups = {f"{kind.partition('.')[0]}{EVERY}" for kind in known}
    kinds = tuple(dict.fromkeys(names))
    for name in kinds:
        if name not in known and name not in groups:
            raise UsageError(
                f"there are no events of the kind {name[:40]!r}",
                f"kinds are {', '.join(known)}; or {', '.join(sorted(groups))}",
            )
    return kinds


def read_url(text: str) -> str:
    """Return the address of a webhook.

    Raises:
        UsageError: It is none.
    """
    hint = "write it as https://HOST/PATH; what the receiver should know goes into the path"
    try:
        parts = urlsplit(text)
        host, user, _port = parts.hostname, parts.username, parts.port
    except ValueError as error:
        raise UsageError(f"the address of a webhook cannot be read: {error}", hint) from error
    if parts.scheme not in ("https", "http") or not host or len(text) > LONGEST_URL:
        raise UsageError("a webhook needs an address that begins with https://", hint)
    if user is not None or parts.fragment or not text.isascii() or any(ord(c) <= ord(" ") for c in text):
        raise UsageError("the address of a webhook holds a user, a fragment, a space or letters beyond ASCII", hint)
    return text
