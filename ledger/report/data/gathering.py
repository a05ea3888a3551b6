"""Gather the data of a report from the ledger: SQL only, without torch or weights."""

from contextlib import suppress
from dataclasses import replace

from ledger.audit.events import AuditEvent
from ledger.audit.signed_notes import Verifier
from ledger.domain.events.ledgers import CertificateIssued
from ledger.domain.events.models import ModelPurged, ModelRolledBack
from ledger.domain.events.requests import RequestFulfilled, RequestRetried, RequestWithdrawn
from ledger.domain.events.versions import VersionEvaluated, VersionExported
from ledger.domain.moments import in_zone
from ledger.errors import AuditError, LedgerError, RowError
from ledger.service.ledger import Ledger
from ledger.service.requests.listing import list_requests
from ledger.service.signing import own_verifier
from ledger.service.versions.model_history import read_stored_history
from ledger.store.unit_of_work import Transaction

from .audit_facts import AuditFacts, AuditStatus, Happening, HappeningKind, SignedHead, VersionWaiver
from .model_report import ModelReport

TRIES = 3
"""How often to read before accepting that something was written meanwhile."""


def gather(ledger: Ledger, model_name: str) -> ModelReport:
    """Gather the data of a report on a model.

    Raises:
        NotFoundError: There is no such model.
    """
    now = ledger.clock()
    for _ in range(TRIES):
        # Versions and requests are read in two transactions. If anything was written in between, both are read again.
        before = _head(ledger)
        versions = read_stored_history(ledger, model_name)
        zone = ledger.config.zone
        # A due date is the end of a day there; elsewhere it may fall on another day.
        requests = tuple(
            replace(
                request,
                received_at=in_zone(request.received_at, zone),
                due_at=in_zone(request.due_at, zone),
            )
            for _, request in list_requests(ledger, model_name)
        )
        if _head(ledger) == before:
            break  # on a ledger that changes all the time, the last reading is used
    verifier = _verifier(ledger)
    with ledger.database.read() as tx:
        audit = _verified(tx, model_name, verifier)
        remarks = read_audit_facts(tx, model_name) if audit.verified else AuditFacts()
    return ModelReport(versions, requests, audit, remarks, now.astimezone(ledger.config.zone))


def model_names(ledger: Ledger) -> list[str]:
    """Return the names of all models, in the order of the alphabet."""
    with ledger.database.read() as tx:
        return sorted(tx.models.names().values())


def _verifier(ledger: Ledger) -> Verifier | None:
    """Return the public half of the signing key; None where it cannot be had, which the page says."""
    with suppress(LedgerError):
        return own_verifier(ledger.config)
    return None


def _head(ledger: Ledger) -> str | None:
    with ledger.database.read() as tx:
        return _stated_head(tx)


def _stated_head(tx: Transaction) -> str | None:
    try:
        return str(tx.audit.head())
    except AuditError:
        return None


def _verified(tx: Transaction, model_name: str, verifier: Verifier | None) -> AuditStatus:
    """Verify the log, and that the rows which the report shows are what it says."""
    try:
        head = str(tx.audit.verify(verifiers=[] if verifier is None else [verifier]))
        tx.trusted.model(model_name)
        for check in (tx.trusted.requests, tx.trusted.class_spaces, tx.trusted.evidence):
            check(model_name)
    except AuditError as error:
        return AuditStatus(_stated_head(tx), error.message, error.hint, error.seq)
    except RowError as error:
        return AuditStatus(_stated_head(tx), error.message, error.hint)
    last = tx.checkpoints.last()
    signed = None if last is None else SignedHead(last.size, last.root, last.created_at, checked=verifier is not None)
    return AuditStatus(head, root=tx.audit.root().hex(), signed=signed)


def read_audit_facts(tx: Transaction, model_name: str) -> AuditFacts:
    """Return what only the entries of the audit log tell of a model."""
    found = AuditFacts()
    kinds = (
        *(ModelRolledBack.kind, VersionEvaluated.kind),
        *(RequestRetried.kind, RequestFulfilled.kind, RequestWithdrawn.kind),
        *(VersionExported.kind, CertificateIssued.kind, ModelPurged.kind),
    )
    for entry in tx.audit.events(model=model_name, kinds=kinds):
        with suppress(AuditError):  # without what a malformed entry tells, the report still says the rest
            _note(found, entry)
    return found


def _note(found: AuditFacts, entry: AuditEvent) -> None:
    match entry.payload:
        case ModelRolledBack() as event:
            found.reopened[event.version] = event.reopened
            found.reasons[event.version] = entry.note or ""
        case VersionEvaluated() as event:
            found.compared[event.evaluator, event.inputs] = event.against
        case RequestRetried(gates_waived=True) if entry.request_id is not None:
            found.reasons_to_waive[entry.request_id] = entry.note or ""
        case RequestFulfilled() as event if event.gates_missed or event.missed:
            reason = found.reasons_to_waive.get(entry.request_id or 0, "")
            missed = max(event.gates_missed, len(event.missed))
            found.waived[event.version] = VersionWaiver(missed, event.missed, reason)
        case RequestWithdrawn() as event if event.missed and event.version is not None:
            found.waived[event.version] = VersionWaiver(len(event.missed), event.missed, entry.note or "")
        case VersionExported() as event:
            found.happenings.append(Happening(entry.at, HappeningKind.EXPORT, (event.version,)))
        case CertificateIssued() as event:
            kind = HappeningKind.CERTIFICATE
            found.happenings.append(Happening(entry.at, kind, (event.version,), event.certificate, entry.request_id))
        case ModelPurged() as event:
            found.happenings.append(Happening(entry.at, HappeningKind.PURGE, event.versions, event.anchor))
        case _:
            pass
