"""What all events of the audit history have in common: a kind, and facts that become JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar

_KEY = "json key"
_PLAIN = frozenset({str, int, bool, float, type(None)})


class EventKind(StrEnum):
    """What can happen in a ledger. The names are recorded for good: none is ever changed."""

    LEDGER_CREATED = "ledger.created"
    LEDGER_RECOVERED = "ledger.recovered"
    MODEL_REGISTERED = "model.registered"
    MODEL_DATA_CHANGED = "model.data_changed"
    MODEL_PURGED = "model.purged"
    MODEL_ROLLED_BACK = "model.rolled_back"
    MODEL_ADOPTED = "model.adopted"
    CLASS_SPACE_COLLECTED = "class_space.collected"
    RESULT_KEPT = "result.kept"
    OBJECT_DESTROYED = "object.destroyed"
    VERSION_CREATED = "version.created"
    VERSION_EVALUATED = "version.evaluated"
    VERSION_EXPORTED = "version.exported"
    VERSION_QUARANTINED = "version.quarantined"
    VERSION_RELEASED = "version.released"
    REQUEST_RECEIVED = "request.received"
    REQUEST_APPROVED = "request.approved"
    REQUEST_DENIED = "request.denied"
    REQUEST_CANCELLED = "request.cancelled"
    REQUEST_HELD = "request.held"
    REQUEST_RELEASED = "request.released"
    REQUEST_RETRIED = "request.retried"
    REQUEST_CLAIMED = "request.claimed"
    REQUEST_INTERRUPTED = "request.interrupted"
    REQUEST_QUARANTINED = "request.quarantined"
    REQUEST_FULFILLED = "request.fulfilled"
    REQUEST_FAILED = "request.failed"
    REQUEST_BLOCKED = "request.blocked"
    REQUEST_REOPENED = "request.reopened"
    REQUEST_WITHDRAWN = "request.withdrawn"
    REQUEST_EXTENDED = "request.extended"
    CERTIFICATE_ISSUED = "certificate.issued"
    CERTIFICATE_OPENINGS_ERASED = "certificate.openings_erased"
    TOKEN_CREATED = "token.created"  # noqa: S105 - a kind of event
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 - a kind of event
    SESSION_OPENED = "session.opened"
    SESSION_ENDED = "session.ended"
    SESSIONS_ENDED = "sessions.ended"
    WEBHOOK_ADDED = "webhook.added"
    WEBHOOK_REMOVED = "webhook.removed"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event: the facts that its entry holds under ``data``.

    Time, actor, model, request and note are not part of it: every entry has them, whatever its kind.

    A field with a default is optional: it is left out of the entry while it has its default, and an entry without it is
    read as if it had. Entries of earlier releases hold fewer fields, which is one reason to make a field optional; an
    entry is never written again, so reading it and writing it gives the same bytes.
    """

    kind: ClassVar[str]
    """The event's name in the history, for most an :class:`EventKind`."""

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain JSON values, by key."""
        said: dict[str, Any] = {}
        # mypy takes the method by which events are hashed for the one by which their classes are.
        for name, written, default in _written(type(self)):  # type: ignore[arg-type]
            value = getattr(self, name)
            if default is MISSING or value != default:
                said[written] = value if type(value) in _PLAIN else _plain(value)
        return said


def key(name: str) -> Mapping[str, str]:
    """Return the metadata of a field whose JSON key is not a possible (or not a good) name in Python."""
    return {_KEY: name}


def json_key(one: "Field[Any]") -> str:
    """Return the key that holds an event's field in JSON."""
    return str(one.metadata.get(_KEY, one.name))


def is_optional(one: "Field[Any]") -> bool:
    """Whether an entry may lack a field."""
    return one.default is not MISSING


def json_keys(event: type[Event]) -> Iterator[tuple[str, bool]]:
    """Yield the JSON keys of an event's facts in order, each with whether an entry may lack it."""
    return ((json_key(one), is_optional(one)) for one in fields(event))


@cache
def _written(event: type[Event]) -> tuple[tuple[str, str, Any], ...]:
    """Return name, JSON key and default of each field: looking them up takes longer than writing an event does."""
    return tuple((one.name, json_key(one), one.default) for one in fields(event))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return value
