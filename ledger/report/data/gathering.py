"""Gather the data of a report from the ledger: SQL only, without torch or weights."""

from contextlib import suppress
from dataclasses import replace

from ledger.audit.events import AuditEvent
from ledger.domain.events.models import ModelRolledBack
from ledger.domain.events.requests import RequestFulfilled
from ledger.domain.events.versions import VersionEvaluated
from ledger.errors import AuditError, RowError
from ledger.service.ledger import Ledger
from ledger.service.requests.listing import list_requests
from ledger.service.versions.model_history import read_stored_history
from ledger.store.unit_of_work import Transaction

from .model_report import AuditFacts, AuditStatus, ModelReport

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
                received_at=request.received_at.astimezone(zone),
                due_at=request.due_at.astimezone(zone),
            )
            for _, request in list_requests(ledger, model_name)
        )
        if _head(ledger) == before:
            break  # on a ledger that changes all the time, the last reading is used
    with ledger.database.read() as tx:
        audit = _verified(tx, model_name)
        remarks = _remarks(tx, model_name) if audit.verified else AuditFacts()
    return ModelReport(versions, requests, audit, remarks, now)


def _head(ledger: Ledger) -> str | None:
    with ledger.database.read() as tx:
        return _stated_head(tx)


def _stated_head(tx: Transaction) -> str | None:
    try:
        return str(tx.audit.head())
    except AuditError:
        return None


def _verified(tx: Transaction, model_name: str) -> AuditStatus:
    """Verify the log, and that the rows which the report shows are what it says."""
    try:
        head = str(tx.audit.verify())
        tx.trusted.model(model_name)
        for check in (tx.trusted.requests, tx.trusted.class_spaces, tx.trusted.evidence):
            check(model_name)
    except AuditError as error:
        return AuditStatus(_stated_head(tx), error.message, error.hint, error.seq)
    except RowError as error:
        return AuditStatus(_stated_head(tx), error.message, error.hint)
    return AuditStatus(head)


def _remarks(tx: Transaction, model_name: str) -> AuditFacts:
    found = AuditFacts()
    kinds = (ModelRolledBack.kind, VersionEvaluated.kind, RequestFulfilled.kind)
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
            found.compared[event.version, event.evaluator] = event.against
        case RequestFulfilled() as event:
            found.gates_missed[event.version] = event.gates_missed
        case _:
            pass
