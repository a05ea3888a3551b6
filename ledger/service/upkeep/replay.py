"""Rebuild models, requests, versions and aliases from the audit log alone, and say which stored rows differ.

The audit log counts. Rows are its projection, kept for quick answers. An edited row is found here; an edited audit log
is found by ``audit verify``. Each column is either rebuilt from the entries, or named in :data:`NOT_EVIDENCE` with the
reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ledger.audit.events import AuditEvent
from ledger.digest import json_digest
from ledger.domain.events.models import ModelDataChanged, ModelPurged, ModelRegistered
from ledger.domain.events.requests import (
    RequestClaimed,
    RequestEvent,
    RequestFulfilled,
    RequestReceived,
    RequestReleased,
    RequestReopened,
    RequestRetried,
)
from ledger.domain.events.versions import VersionCreated
from ledger.domain.requests import RequestBody
from ledger.domain.versions import LIVE
from ledger.errors import AuditError, LedgerError
from ledger.service.ledger import Ledger
from ledger.service.versions.commit import setup_digest
from ledger.store.unit_of_work import Transaction

Row = dict[str, Any]
Key = tuple[Any, ...]
KEYS = {
    "models": ("name",),
    "requests": ("id",),
    "versions": ("model_id", "number"),
    "aliases": ("model_id", "name"),
    "alias_moves": ("audit_seq",),
}
"""What names a row in the audit log."""
NOT_EVIDENCE = {
    ("models", "id"): "numbers rows; the name is what the history knows",
    ("models", "options"): "in no entry as such; the digest of the set-up covers it",
    ("models", "preprocessing"): "in no entry as such; the digest of the set-up covers it",
    ("models", "settings"): "in no entry as such; the digest of the set-up covers it",
    ("models", "labels"): "names of classes, in no entry; certificates commit to them",
    ("models", "data_spec"): "where the images are; their digest says what they are",
    ("requests", "external_id"): "free text; the digest of the body covers it",
    ("requests", "reason"): "free text; the digest of the body covers it",
    ("requests", "idempotency_key"): "keeps a repeated call from filing twice, says nothing of what was done",
    ("requests", "attempts"): "bookkeeping of the queue",
    ("requests", "lease_expires"): "moved by every heartbeat, which is no event",
    ("requests", "outcome"): "words for people; the note of the entry says the same",
    ("versions", "quarantined"): "what the last check of the stored objects found; the next one says it again",
    ("alias_moves", "id"): "numbers rows; the sequence number of the entry orders them",
}
"""Columns that are not rebuilt, and why."""


@dataclass(frozen=True)
class Difference:
    """One column of one row that is not what the audit log says; of a missing or unaccounted row, the whole."""

    table: str
    key: Key
    column: str | None
    recorded: Any
    """What the audit log says; None if it knows of no such row."""
    stored: Any

    def __str__(self) -> str:
        name = f"{self.table} {'/'.join(str(part) for part in self.key)}"
        if self.column is not None:
            return f"{name}: {self.column} is {self.stored!r}, the history says {self.recorded!r}"
        if self.stored is None:
            return f"{name}: the row is missing, the history tells of it"
        return f"{name}: the history tells of no such row"


@dataclass
class Replayed:
    """The rows that a history amounts to, by table and key. A row holds the columns that its entries speak of."""

    rows: dict[str, dict[Key, Row]] = field(default_factory=lambda: {table: {} for table in KEYS})
    dates: dict[Key, tuple[str, str]] = field(default_factory=dict)
    """Receipt and due date of each request as they were written, zone and all."""
    setups: dict[Key, str] = field(default_factory=dict)
    """The digest of each model's set-up; models from before this rule have none."""

    def apply(self, entry: AuditEvent) -> None:
        """Take the next entry into account.

        Raises:
            KeyError: It tells of a row that no entry before it tells of.
            AuditError: It lacks a fact that an event of its kind has, or holds something odd instead.
        """
        match entry.payload:
            case VersionCreated() as event:
                self._version(entry, event)
            case ModelRegistered() as event:
                self._registered(entry, event)
            case ModelDataChanged() as event:
                self.rows["models"][entry.model,]["data_digest"] = event.data
            case ModelPurged() as event:
                self._purged(entry, event)
            case RequestReceived() as event:
                self._received(entry, event)
            case RequestEvent() as event:
                self._request(entry, event)
            case _:
                pass

    def _registered(self, entry: AuditEvent, event: ModelRegistered) -> None:
        columns = {"architecture": event.architecture, "data_digest": event.data}
        self.rows["models"][entry.model,] = {**columns, "created_at": entry.at, "anchor": 0}
        if event.setup is not None:
            self.setups[entry.model,] = event.setup

    def _purged(self, entry: AuditEvent, event: ModelPurged) -> None:
        self.rows["models"][entry.model,]["anchor"] = event.anchor
        for number in event.versions:
            self.rows["versions"][entry.model, number]["purged_at"] = entry.at

    def _version(self, entry: AuditEvent, event: VersionCreated) -> None:
        model, number = entry.model, event.version
        self.rows["versions"][model, number] = {
            "parent": event.parent,
            "kind": event.version_kind.value,
            "request_id": entry.request_id,
            "restores": event.restores,
            "forgotten": list(event.forgotten),
            "weights": event.weights,
            "created_at": entry.at,
            "purged_at": None,
        } | ({} if event.recipe is None else {"recipe": event.recipe})
        alias = self.rows["aliases"].get((model, LIVE))
        self.rows["alias_moves"][entry.seq,] = {
            "model_id": model,
            "name": LIVE,
            "version": number,
            "previous": alias["version"] if alias else None,
            "moved_at": entry.at,
        }
        self.rows["aliases"][model, LIVE] = {"version": number}

    def _received(self, entry: AuditEvent, event: RequestReceived) -> None:
        self.dates[entry.request_id,] = event.received_at.isoformat(), event.due_at.isoformat()
        self.rows["requests"][entry.request_id,] = {
            "model_id": entry.model,
            "classes": list(event.classes),
            "actor": entry.actor,
            "basis": event.basis,
            "received_at": event.received_at,
            "due_at": event.due_at,
            "created_at": entry.at,
            "body_digest": event.body,
            "version": None,
            "no_op": False,
            "gates_waived": False,
            "lease_owner": None,
            "lease_epoch": 0,
            "state": event.state.value,
            "updated_at": entry.at,
        }

    def _request(self, entry: AuditEvent, event: RequestEvent) -> None:
        row = self.rows["requests"][entry.request_id,]
        row |= {"state": event.state.value, "updated_at": entry.at, "lease_owner": None}
        match event:
            case RequestClaimed():
                row |= {"lease_owner": event.worker, "lease_epoch": event.epoch}
            case RequestReleased() if event.epoch is not None:
                row |= {"lease_epoch": event.epoch}
            case RequestFulfilled():
                row |= {"version": event.version, "no_op": event.no_op}
            case RequestReopened():
                row |= {"version": None, "no_op": False}
            case RequestRetried():
                row |= {"version": None, "no_op": False, "gates_waived": event.gates_waived}
            case _:
                pass


def replay(tx: Transaction) -> list[Difference]:
    """Rebuild models, requests, versions, aliases and their moves from the audit log; return where the rows differ.

    The audit log itself is taken as it is: verify it first.
    """
    replayed = Replayed()
    found = []
    for entry in tx.audit.events():
        try:
            replayed.apply(entry)
        except (KeyError, AuditError):
            found.append(Difference("entries", (entry.seq,), None, None, entry.kind))
    for table, key in KEYS.items():
        stored = {tuple(row[name] for name in key): _comparable(table, row) for row in tx.projections.rows(table)}
        found += _compare(table, replayed.rows[table], stored)
        if table == "requests":
            found += _compare_bodies(replayed.dates, stored)
        if table == "models":
            found += _compare_setups(replayed.setups, stored)
    return found


def differences(ledger: Ledger) -> list[str]:
    """Return one sentence for each stored row or column that the audit log contradicts."""
    with ledger.database.read() as tx:
        return differences_in(tx)


def differences_in(tx: Transaction) -> list[str]:
    """Return what :func:`differences` does, as an open transaction sees it."""
    try:
        return [str(difference) for difference in replay(tx)]
    except (LedgerError, LookupError, TypeError, ValueError) as error:
        return [f"the audit history cannot be replayed: {error}"]


def _compare(table: str, recorded: Mapping[Key, Row], stored: Mapping[Key, Row]) -> Iterable[Difference]:
    for key in sorted(recorded.keys() | stored.keys(), key=repr):
        expected, actual = recorded.get(key), stored.get(key)
        if expected is None or actual is None:
            yield Difference(table, key, None, expected, actual)
            continue
        for column, value in expected.items():
            if actual[column] != value:
                yield Difference(table, key, column, value, actual[column])


def _compare_bodies(dates: Mapping[Key, tuple[str, str]], stored: Mapping[Key, Row]) -> Iterable[Difference]:
    for key, (received, due) in dates.items():
        row = stored.get(key)
        if row is not None and row["body_digest"] not in _bodies(row, received, due):
            yield Difference("requests", key, "reason or external_id", "another text", "this text")


def _compare_setups(setups: Mapping[Key, str], stored: Mapping[Key, Row]) -> Iterable[Difference]:
    for key, recorded in setups.items():
        row = stored.get(key)
        if row is not None and setup_digest(row["options"], row["preprocessing"], row["settings"]) != recorded:
            yield Difference("models", key, "options, preprocessing or settings", "another set-up", "this set-up")


def _comparable(table: str, row: Row) -> Row:
    return {**row, "recipe": json_digest(row["recipe"])} if table == "versions" else row


def _bodies(row: Row, received: str, due: str) -> set[str]:
    """Return the digests that the body of a request may have: dates count only where the sender named them."""
    body = RequestBody(
        model=row["model_id"],
        classes=tuple(row["classes"]),
        reason=row["reason"],
        basis=row["basis"],
        external_id=row["external_id"],
        received_at=None,
        due_at=None,
    )
    return {
        json_digest(replace(body, received_at=first, due_at=second).to_json())
        for first in (received, None)
        for second in (due, None)
    }
