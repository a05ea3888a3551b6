"""JSON documents for ``--json``: domain values as plain data, each with the name and number of its schema."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ledger.audit.events import AuditEvent
from ledger.domain.certificates import Certificate
from ledger.domain.due import days_left
from ledger.domain.evidence import Evidence
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.versions import Version

if TYPE_CHECKING:
    from ledger.certificates.verifier import Verified


def document(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return a document that says which schema it follows."""
    return {"schema": f"unledger.{kind}/1", **body}


def text(body: dict[str, Any]) -> str:
    """Return a document as it is written to a file."""
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def listing(kind: str, items: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return a document that holds a list."""
    return document(kind, {"items": list(items)})


def model(value: Model, live: Version) -> dict[str, Any]:
    """Return a model and what is live."""
    return {
        "name": value.name,
        "architecture": value.architecture.spec,
        "options": value.architecture.options,
        "labels": list(value.labels.labels),
        "data": value.data_spec,
        "data_digest": value.data_digest,
        "preprocessing": vars(value.preprocessing),
        "settings": value.settings.to_json(),
        "created_at": value.created_at,
        "live": live.number,
        "anchor": value.anchor,
        "forgotten": list(value.labels.names(live.forgotten)),
    }


def version(value: Version, owner: Model, live: int) -> dict[str, Any]:
    """Return a version."""
    return {
        "model": owner.name,
        "version": value.number,
        "live": value.number == live,
        "kind": value.kind.value,
        "parent": value.parent,
        "request": value.request_id,
        "restores": value.restores,
        "forgotten": list(owner.labels.names(value.forgotten)),
        "weights": value.weights,
        "recipe": value.recipe,
        "created_at": value.created_at,
        "quarantined": value.quarantined,
        "purged_at": value.purged_at,
    }


def request(value: Request, owner: Model, now: datetime) -> dict[str, Any]:
    """Return a request."""
    return {
        "id": value.id,
        "model": owner.name,
        "classes": list(owner.labels.names(value.classes)),
        "state": value.state.value,
        "actor": value.actor,
        "reason": value.reason,
        "basis": value.basis,
        "external_id": value.external_id,
        "received_at": value.received_at,
        "due_at": value.due_at,
        "days_left": days_left(value.due_at, now) if value.is_open else None,
        "created_at": value.created_at,
        "updated_at": value.updated_at,
        "version": value.version,
        "no_op": value.no_op,
        "gates_waived": value.gates_waived,
        "outcome": value.outcome,
    }


def evidence(value: Evidence) -> dict[str, Any]:
    """Return what an evaluator measured."""
    return {
        "evaluator": value.evaluator,
        "plugin": value.plugin,
        "plugin_version": value.plugin_version,
        "metrics": value.metrics,
        "samples": value.samples,
        "inputs_digest": value.inputs_digest,
        "created_at": value.created_at,
    }


def event(value: AuditEvent) -> dict[str, Any]:
    """Return an audit event, with the exact text that is hashed."""
    return {
        "seq": value.seq,
        "at": value.at,
        "kind": value.kind,
        "actor": value.actor,
        "model": value.model,
        "request": value.request_id,
        "data": value.data,
        "note": value.note,
        "leaf": value.leaf,
        "digest": value.digest,
    }


def certificate(value: Certificate, owner: Model) -> dict[str, Any]:
    """Return what the ledger holds of a certificate, beside its text."""
    return {
        "id": value.id,
        "request": value.request_id,
        "model": owner.name,
        "version": value.version,
        "issued_at": value.created_at,
        "seq": value.audit_seq,
        "openings": value.openings is not None,
    }


def verified(value: "Verified", opened: Sequence[tuple[int, str]] | None) -> dict[str, Any]:
    """Return a certificate that verifies: its statement, and where the history records it."""
    classes = None if opened is None else [{"index": index, "label": label} for index, label in opened]
    body = {"ok": True, "envelope": value.envelope, "seq": value.entry, "size": value.size, "classes": classes}
    return document("certificate", {**body, "statement": value.statement})
