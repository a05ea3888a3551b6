"""Entries of the audit history as events: when something happened, who did it, and what it was."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import Any

from ledger.domain.events.catalogue import EVENTS
from ledger.domain.events.event import Event, json_key
from ledger.errors import AuditError
from ledger.json_shapes import value_as

_NAMES = {kind: {json_key(field): field.name for field in fields(event)} for kind, event in EVENTS.items()}
_RENAMED = {kind: names for kind, names in _NAMES.items() if any(key != name for key, name in names.items())}
"""Names of fields by key, of the kinds in which some differ."""
_TIMES = {kind: [field.name for field in fields(event) if field.type is datetime] for kind, event in EVENTS.items()}


@dataclass(frozen=True)
class AuditEvent:
    """One entry of the audit history."""

    seq: int
    at: datetime
    kind: str
    actor: str
    model: str | None
    request_id: int | None
    data: dict[str, Any]
    """The facts as the entry holds them."""
    leaf: str
    """The canonical JSON text that is hashed."""
    digest: str
    note: str | None = None
    """Free text that belongs to the event and is kept outside the hashed leaf."""

    @cached_property
    def payload(self) -> Event | None:
        """What happened, as a value of its own class; None for a kind that this release does not know.

        Raises:
            AuditError: The entry lacks a fact that an event of its kind has, or holds something odd instead.
        """
        try:
            return read_event(self.kind, self.data)
        except ValueError as error:
            raise AuditError(f"entry {self.seq} is not a valid {self.kind}: {error}", seq=self.seq) from error


def read_event(kind: str, data: Mapping[str, Any]) -> Event | None:
    """Return the event that an entry tells of; None for a kind that this release does not know.

    Args:
        kind: Name of the kind.
        data: The facts, as plain JSON values. Facts that this release does not know are left out.

    Raises:
        ValueError: A fact is missing or has another type.
    """
    event = EVENTS.get(kind)
    if event is None:
        return None
    names = _RENAMED.get(kind)
    # Keys that this release does not know are ignored anyway.
    values = dict(data) if names is None else {names[key]: value for key, value in data.items() if key in names}
    for name in _TIMES[kind]:
        # Read by the function that belongs to the one which wrote it: it knows every offset from UTC.
        if isinstance(text := values.get(name), str):
            values[name] = datetime.fromisoformat(text)
    return value_as(event, values)
