"""Documents about certificates; the certificate itself is a file with a format of its own."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.domain.certificates import Certificate
from ledger.domain.models import Model

from .document import Document, document, listing

if TYPE_CHECKING:
    from ledger.service.evidence.certificates import CertificatePlan, Issued
    from ledger.service.evidence.verification import VerifiedCertificate


def certificate_part(value: Certificate, owner: Model) -> Document:
    """Return what the ledger holds of a certificate, beside its text."""
    return {
        "id": value.id,
        "request": value.request_id,
        "model": owner.name,
        "model_id": owner.id,
        "version": value.version,
        "issued_at": value.created_at,
        "seq": value.audit_seq,
        "openings": value.openings is not None,
    }


def certificates_document(found: Iterable[tuple[Certificate, Model]]) -> Document:
    """Return certificates in the order they were issued."""
    return listing("certificates", (certificate_part(certificate, owner) for certificate, owner in found))


def issued_document(issued: "Issued", data: bytes, output: Path | None) -> Document:
    """Return a certificate that was issued: where it was written, or the certificate itself."""
    body = {
        **certificate_part(issued.certificate, issued.model),
        "repeated": issued.repeated,
        "output": None if output is None else str(output),
        "certificate": json.loads(data) if output is None else None,
    }
    return document("issued", body)


def certificate_record_document(
    value: Certificate, owner: Model, statement: Mapping[str, Any], since: Iterable[str]
) -> Document:
    """Return a certificate, what it states, and what happened since that a reader must know."""
    body = {**certificate_part(value, owner), "statement": statement, "since": list(since)}
    return document("certificate_record", body)


def plan_document(planned: "CertificatePlan") -> Document:
    """Return what would be certified; nothing was signed."""
    said = planned.statement["predicate"]
    body = {
        "request": planned.request.id,
        "model": planned.model.name,
        "model_id": planned.model.id,
        "version": planned.version.number,
        "weights": planned.version.weights,
        "live_version": planned.live.number,
        "is_live": planned.is_live,
        "level": said["evidence"]["level"],
        "looks_at": said["evidence"]["looksAt"],
        "measured": [one["evaluator"] for one in said["evidence"]["measurements"]],
        "not_tested": said["notTested"]["levels"],
        "caveats": planned.caveats,
        "repeats": None if planned.repeats is None else planned.repeats.id,
        "confirmation": planned.confirmation,
    }
    return document("certificate_plan", body)


def openings_erased_document(number: int, *, erased: bool) -> Document:
    """Return whether a certificate's openings were erased now, or had been before."""
    return document("openings_erased", {"certificate": number, "erased": erased})


def verified_document(found: "VerifiedCertificate") -> Document:
    """Return a certificate that verifies: its statement, and where the log records it."""
    verified, opened = found.certificate, found.classes
    classes = None if opened is None else [{"index": index, "label": label} for index, label in opened]
    body = {"envelope": verified.envelope, "seq": verified.entry, "size": verified.size, "classes": classes}
    return document("certificate", {"ok": True, **body, "statement": verified.statement})


def rejected_document(problem: str) -> Document:
    """Return why a certificate does not verify."""
    return document("certificate", {"ok": False, "problem": problem})
