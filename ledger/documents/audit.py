"""Documents about the audit log."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.domain.events.event import EventKind
from ledger.errors import AuditError

from .document import Document, document

if TYPE_CHECKING:
    from ledger.audit.events import AuditEvent
    from ledger.service.audit.adoption import Adoption
    from ledger.service.audit.verification import VerifiedLog
    from ledger.store.repositories.checkpoints import StoredCheckpoint


def event_part(value: "AuditEvent") -> Document:
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


def without_free_text(entry: Document) -> Document:
    """Return an entry without what people wrote freely, which may name classes: note, legal basis, and hashed text.

    Args:
        entry: The entry, as :func:`event_part` makes it.
    """
    hidden: Document = {**entry, "note": None}
    if entry["kind"] == EventKind.REQUEST_RECEIVED:
        hidden |= {"data": {**entry["data"], "basis": None}, "leaf": None}
    return hidden


def audit_document(events: "Iterable[AuditEvent]", *, more: int = 0) -> Document:
    """Return entries of the log, oldest first, and how many more fit behind them."""
    return document("audit", {"items": [event_part(event) for event in events], "more": more})


def verified_log_document(found: "VerifiedLog") -> Document:
    """Return how far a log was verified."""
    body = {"size": found.head.size, "head": str(found.head), "root": found.root, "signed": found.signed}
    return document("verification", {"ok": True, **body})


def verified_entry_document(seq: int) -> Document:
    """Return which entry was proven to stand in the signed log."""
    return document("verification", {"ok": True, "entry": seq})


def rejected_log_document(error: AuditError) -> Document:
    """Return the first bad entry of a log that does not verify."""
    return document("verification", {"ok": False, "first_bad": error.seq, "problem": error.message})


def adopted_document(plan: "Adoption", *, dry_run: bool) -> Document:
    """Return the rows that were bound to the log, or would be."""
    return document("adopted", {"model": plan.model, "rows": list(plan.rows), "dry_run": dry_run})


def key_document(key: str) -> Document:
    """Return the ledger's verifier key."""
    return document("key", {"key": key})


def checkpoint_document(issued: "StoredCheckpoint", output: Path | None) -> Document:
    """Return a signed checkpoint, and the file it was written to."""
    body = {"size": issued.size, "root": issued.root, "note": issued.note}
    return document("checkpoint", {**body, "output": None if output is None else str(output)})


def witnessed_document(file: Path, before: int, after: int) -> Document:
    """Return how many entries a witness file knew before, and how many it knows now."""
    return document("witnessed", {"file": str(file), "before": before, "after": after})


def audit_export_document(lines: int, output: Path) -> Document:
    """Return where an export of the log was written."""
    return document("audit_export", {"lines": lines, "output": str(output)})


def imported_document(before: int, after: int) -> Document:
    """Return how many entries an archive held before, and how many it holds now."""
    return document("imported", {"before": before, "after": after})
