"""Rows as the audit log tells of them: rebuilt by taking its entries into account one after another."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ledger.audit.events import AuditEvent
from ledger.domain.events.access import (
    SessionEnded,
    SessionOpened,
    SessionsEnded,
    TokenCreated,
    TokenRevoked,
    WebhookAdded,
    WebhookRemoved,
)
from ledger.domain.events.ledgers import CertificateIssued, CertificateOpeningsErased, ObjectDestroyed
from ledger.domain.events.models import (
    ClassSpaceCollected,
    ModelAdopted,
    ModelDataChanged,
    ModelPurged,
    ModelRegistered,
    ResultKept,
)
from ledger.domain.events.requests import (
    RequestClaimed,
    RequestEvent,
    RequestExtended,
    RequestFulfilled,
    RequestReceived,
    RequestReleased,
    RequestReopened,
    RequestRetried,
)
from ledger.domain.events.versions import VersionCreated, VersionEvaluated
from ledger.domain.versions import LIVE

from .packed_rows import Key, PackedRows, Row

KEYS = {
    "models": ("name",),
    "requests": ("id",),
    "versions": ("model_id", "number"),
    "aliases": ("model_id", "name"),
    "alias_moves": ("audit_seq",),
    "class_spaces": ("model_id", "class_index", "spec_digest"),
    "kept_results": ("model_id", "anchor", "kind"),
    "basis_terms": ("model_id", "version"),
    "evidence": ("model_id", "version"),
    "certificates": ("id",),
    "blobs": ("digest",),
    "tokens": ("id",),
    "webhooks": ("id",),
}
"""What names a row in the log. Basis terms and evidence are compared version by version, all rows of one together."""
SESSIONS, ENDINGS = "sessions", "endings"
"""What the log says of browser sessions that may still be open, and when those of a person, or of everybody, were ended
together. Their rows are not compared with it one by one: they may be forgotten whenever they have ended."""
EVERYBODY = ""
ROW = "row"
"""The digest of the whole row, beside columns that entries speak of."""


@dataclass
class Replayed:
    """The rows that a log amounts to, by table and key. A row holds the columns that its entries speak of."""

    rows: dict[str, PackedRows] = field(
        default_factory=lambda: {table: PackedRows() for table in (*KEYS, SESSIONS, ENDINGS)}
    )
    sent: dict[Key, tuple[str, str, str | None]] = field(default_factory=dict)
    """Receipt and due date of each request as they were written, zone and all, and the digest of its preview."""
    setups: dict[Key, str] = field(default_factory=dict)
    """The digest of each model's options, preprocessing and settings; models from before this rule have none."""
    unbound: set[tuple[str, Key]] = field(default_factory=set)
    """Rows that earlier releases recorded without the digest of the whole: some of their columns are in no entry."""

    def __post_init__(self) -> None:
        self._handlers: dict[type, Callable[[AuditEvent, Any], None]] = {
            ModelRegistered: self._registered,
            ModelDataChanged: self._data_changed,
            ModelPurged: self._purged,
            ModelAdopted: self._adopted,
            ClassSpaceCollected: self._collected,
            ResultKept: self._kept,
            VersionCreated: self._version,
            VersionEvaluated: self._evaluated,
            CertificateIssued: self._certificate,
            CertificateOpeningsErased: self._erased,
            ObjectDestroyed: self._destroyed,
            RequestReceived: self._received,
            TokenCreated: self._token,
            TokenRevoked: self._revoked,
            SessionOpened: self._opened,
            SessionEnded: self._session_ended,
            SessionsEnded: self._sessions_ended,
            WebhookAdded: self._webhook,
            WebhookRemoved: self._unhooked,
        }

    def apply(self, entry: AuditEvent) -> None:
        """Take the next entry into account.

        Raises:
            KeyError: It tells of a row that no entry before it tells of.
            AuditError: It lacks a fact that an event of its kind has, or holds something odd instead.
        """
        event = entry.payload
        handler = self._handlers.get(type(event), self._request if isinstance(event, RequestEvent) else None)
        if handler is not None:
            handler(entry, event)

    def _bind(self, table: str, key: Key, row: Row, digest: str | None) -> None:
        """Note the digest of a whole row, or that there is none."""
        if digest is None:
            row.pop(ROW, None)
            self.unbound.add((table, key))
        else:
            row[ROW] = digest
            self.unbound.discard((table, key))

    def _object(self, digest: str, size: int | None) -> None:
        """Note that an object is stored, again if it was destroyed before."""
        row = self.rows["blobs"].setdefault((digest,), {})
        row |= {"destroyed_at": None} | ({} if size is None else {"size": size})

    def _destroyed(self, entry: AuditEvent, event: ObjectDestroyed) -> None:
        self.rows["blobs"].setdefault((event.object,), {})["destroyed_at"] = entry.at

    # -- models and class spaces ------------------------------------------------------------------

    def _registered(self, entry: AuditEvent, event: ModelRegistered) -> None:
        columns = {"architecture": event.architecture, "data_digest": event.data}
        self.rows["models"][entry.model,] = {**columns, "created_at": entry.at, "anchor": 0}
        self._model_row(entry, event.row)
        if event.setup is not None:
            self.setups[entry.model,] = event.setup

    def _model_row(self, entry: AuditEvent, digest: str | None) -> Row:
        row = self.rows["models"][entry.model,]
        self._bind("models", (entry.model,), row, digest)
        return row

    def _data_changed(self, entry: AuditEvent, event: ModelDataChanged) -> None:
        row = self._model_row(entry, event.row)
        row["data_digest"] = event.data
        if event.architecture is not None:
            row["architecture"] = event.architecture

    def _purged(self, entry: AuditEvent, event: ModelPurged) -> None:
        self.rows["models"][entry.model,]["anchor"] = event.anchor
        for number in event.versions:
            self.rows["versions"][entry.model, number]["purged_at"] = entry.at

    def _collected(self, entry: AuditEvent, event: ClassSpaceCollected) -> None:
        key = entry.model, event.class_index, event.spec
        row = {"samples_digest": event.samples, "blob": event.blob}
        self.rows["class_spaces"][key] = row
        self._bind("class_spaces", key, row, event.row)
        self._object(event.blob, event.size)

    def _kept(self, entry: AuditEvent, event: ResultKept) -> None:
        self.rows["kept_results"][entry.model, event.anchor, event.result] = {"created_at": entry.at, ROW: event.row}
        for digest, size in event.parts:
            self._object(digest, size)

    def _adopted(self, entry: AuditEvent, event: ModelAdopted) -> None:
        self._model_row(entry, event.row)
        bound: list[tuple[str, Key, str]] = [
            *(("class_spaces", (entry.model, index, spec), row) for index, spec, row in event.class_spaces),
            *(("basis_terms", (entry.model, number), row) for number, row in event.bases),
        ]
        for table, key, digest in bound:
            self._bind(table, key, self.rows[table][key], digest)
        for number, digests in event.evidence:
            found = self.rows["evidence"][entry.model, number]["measured"]
            for one, digest in zip(found, digests, strict=True):
                one[ROW] = digest
            self.unbound.discard(("evidence", (entry.model, number)))
        for request, digest in event.keys:
            self.rows["requests"][request,]["idempotency"] = digest
            self.unbound.discard(("requests", (request,)))

    # -- versions, their evidence and certificates ------------------------------------------------

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
        self._object(event.weights, event.size)
        basis: Row = {}
        self.rows["basis_terms"][model, number] = basis
        self._bind("basis_terms", (model, number), basis, event.basis)

    def _evaluated(self, entry: AuditEvent, event: VersionEvaluated) -> None:
        key = entry.model, event.version
        measured = {
            "evaluator": event.evaluator,
            "plugin": event.plugin,
            "plugin_version": event.plugin_version,
            "metrics": event.metrics,
            "inputs_digest": event.inputs,
            "created_at": entry.at,
        }
        self.rows["evidence"].setdefault(key, {"measured": []})["measured"].append(measured)
        if event.row is None:
            self.unbound.add(("evidence", key))
        else:
            measured[ROW] = event.row

    def _certificate(self, entry: AuditEvent, event: CertificateIssued) -> None:
        self.rows["certificates"][event.certificate,] = {
            "request_id": entry.request_id,
            "version": event.version,
            "envelope": event.envelope,
            "audit_seq": entry.seq,
            "created_at": entry.at,
            "erased": False,
        }

    def _erased(self, _entry: AuditEvent, event: CertificateOpeningsErased) -> None:
        self.rows["certificates"][event.certificate,]["erased"] = True

    # -- access -----------------------------------------------------------------------------------

    def _token(self, _entry: AuditEvent, event: TokenCreated) -> None:
        self.rows["tokens"][event.token,] = {ROW: event.row, "revoked_at": None}

    def _revoked(self, entry: AuditEvent, event: TokenRevoked) -> None:
        self.rows["tokens"][event.token,]["revoked_at"] = entry.at

    def _opened(self, entry: AuditEvent, event: SessionOpened) -> None:
        sessions = self.rows[SESSIONS]
        # What has ended by itself is of no use any more; sessions are opened in the order in which they end.
        for key in sessions:
            if sessions[key]["ends"] > entry.at:
                break
            del sessions[key]
        sessions[event.session,] = {"name": entry.actor, "ends": event.expires_at, "open": True}

    def _session_ended(self, _entry: AuditEvent, event: SessionEnded) -> None:
        if (event.session,) in self.rows[SESSIONS]:
            self.rows[SESSIONS][event.session,]["open"] = False

    def _sessions_ended(self, entry: AuditEvent, event: SessionsEnded) -> None:
        self.rows[ENDINGS][EVERYBODY if event.of is None else event.of,] = {"at": entry.at}
        for key in self.open_sessions(event.of):
            self.rows[SESSIONS][key]["open"] = False

    def open_sessions(self, name: str | None) -> list[Key]:
        """Return what names the sessions of a person, or of everybody, that nobody ended."""
        rows = self.rows[SESSIONS]
        return [key for key in rows if rows[key]["open"] and name in {None, rows[key]["name"]}]

    def _webhook(self, _entry: AuditEvent, event: WebhookAdded) -> None:
        self.rows["webhooks"][event.webhook,] = {ROW: event.row}

    def _unhooked(self, _entry: AuditEvent, event: WebhookRemoved) -> None:
        del self.rows["webhooks"][event.webhook,]

    # -- requests ---------------------------------------------------------------------------------

    def _received(self, entry: AuditEvent, event: RequestReceived) -> None:
        self.sent[entry.request_id,] = entry.data["received_at"], entry.data["due_at"], event.preview
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
        if event.idempotency is None:
            self.unbound.add(("requests", (entry.request_id,)))
        else:
            self.rows["requests"][entry.request_id,]["idempotency"] = event.idempotency

    def _request(self, entry: AuditEvent, event: RequestEvent) -> None:
        row = self.rows["requests"][entry.request_id,]
        # More time takes a request from nobody.
        holder = row["lease_owner"] if isinstance(event, RequestExtended) else None
        row |= {"state": event.state.value, "updated_at": entry.at, "lease_owner": holder}
        match event:
            case RequestClaimed():
                row |= {"lease_owner": event.worker, "lease_epoch": event.epoch}
            case RequestReleased() if event.epoch is not None:
                row |= {"lease_epoch": event.epoch}
            case RequestFulfilled():
                row |= {"version": event.version, "no_op": event.no_op}
            case RequestExtended():
                row |= {"due_at": event.due_at}
            case RequestReopened():
                row |= {"version": None, "no_op": False}
            case RequestRetried():
                row |= {"version": None, "no_op": False, "gates_waived": event.gates_waived}
            case _:
                pass

    def unbound_rows(self, model: str) -> list[tuple[str, Key]]:
        """Return table and key of each row of a model that no entry covers whole."""
        return sorted((one for one in self.unbound if self._model_of(*one) == model), key=repr)

    def _model_of(self, table: str, key: Key) -> str:
        return str(self.rows["requests"][key]["model_id"] if table == "requests" else key[0])
