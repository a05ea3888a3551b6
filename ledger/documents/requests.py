"""Documents about requests: filed, decided, carried out."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ledger.domain.due import days_left
from ledger.domain.evidence import WeightsEvidence
from ledger.domain.models import Model
from ledger.domain.numbers import finite_number
from ledger.domain.requests import Request
from ledger.domain.retained_accuracy import RetainedAccuracy
from ledger.domain.states import Action
from ledger.domain.versions import Version

from .audit import event_part
from .document import Document, document
from .errors import error_part
from .models import model_part, version_part

if TYPE_CHECKING:
    from ledger.domain.previews import PreviewedClass
    from ledger.service.requests.bulk import BulkCheck
    from ledger.service.requests.claim_end import Outcome
    from ledger.service.requests.daemon import Trouble
    from ledger.service.requests.filing import Receipt
    from ledger.service.requests.leases import HeldLease
    from ledger.service.requests.listing import RequestHistory
    from ledger.service.requests.preview import Preview
    from ledger.service.requests.status import ModelStatus, Status
    from ledger.service.upkeep.purge import PurgePlan
    from ledger.service.versions.rollback import RollbackPlan


def request_part(value: Request, owner: Model, now: datetime) -> Document:
    """Return a request."""
    return {
        "id": value.id,
        "model": owner.name,
        "model_id": owner.id,
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
        "revision": value.revision,
    }


def retained_part(value: RetainedAccuracy) -> Document:
    """Return the accuracy on the retained classes, beside both originals."""
    return {
        "after": value.after,
        "masked_original": value.masked,
        "plain_original": value.plain,
        "loss_against_mask": value.lost,
        "drop_against_plain": value.dropped,
    }


def outcome_part(value: "Outcome", now: datetime) -> Document:
    """Return what became of a request that a worker carried out."""
    made = value.version
    return {
        "request": request_part(value.request, value.model, now),
        "version": None if made is None else version_part(made, value.model, made.number),
        "error": None if value.error is None else error_part(value.error),
        "not_known_before": list(value.model.labels.names(value.not_known_before)),
        "measured": None if made is None or value.evidence is None else measured_part(value.evidence),
        "missed_gates": [{"gate": one.gate, "told": one.told} for one in value.missed_gates],
        "preview": None
        if value.foretold is None
        else {"outcome": value.foretold.outcome.value, "told": value.foretold.told},
    }


def measured_part(value: WeightsEvidence) -> Document:
    """Return the level that evidence reaches, and its headline figures."""
    accuracy = value.standing.get("accuracy")
    metrics = {} if accuracy is None else accuracy.metrics
    return {
        "level": value.level.value,
        "evaluators": sorted(value.standing),
        "test_images": 0 if accuracy is None else accuracy.samples.get("test images", 0),
        "retained": retained_part(RetainedAccuracy.of_metrics(metrics)),
        "worst_class_loss": finite_number(metrics.get("worst_class_loss")),
        "forgotten_accuracy": finite_number(metrics.get("forgotten_accuracy")),
    }


def requests_document(found: Iterable[tuple[Model, Request]], now: datetime, *, more: int = 0) -> Document:
    """Return requests in the order they were filed, and how many more fit behind them."""
    items = [request_part(request, owner, now) for owner, request in found]
    return document("requests", {"items": items, "more": more})


def history_part(found: "RequestHistory", now: datetime) -> Document:
    """Return a request, and what the audit log tells of its gates and solvers."""
    return {
        **request_part(found.request, found.model, now),
        "solvers": None if found.solvers is None else list(found.solvers),
        "waiver": found.waiver,
        "missed_gates": list(found.missed_gates),
        "gates": found.gates,
    }


def request_document(found: "RequestHistory", now: datetime) -> Document:
    """Return a request and everything that happened to it."""
    return document("request", {**history_part(found, now), "events": [event_part(event) for event in found.events]})


def receipts_document(
    receipts: "Iterable[Receipt]", owner: Model, now: datetime, outcomes: "Sequence[Outcome] | None"
) -> Document:
    """Return the requests that were filed; with what became of the queue, where that was waited for."""
    items = [{**request_part(r.request, owner, now), "repeated": r.repeated} for r in receipts]
    waited = {} if outcomes is None else {"outcomes": [outcome_part(outcome, now) for outcome in outcomes]}
    return document("receipts", {"items": items, **waited})


def bulk_check_document(check: "BulkCheck") -> Document:
    """Return what would become of a file of requests, with every line that is bad."""
    bad = [{"line": one.line, "error": error_part(one.error)} for one in check.bad]
    return document("bulk_check", {"ok": not bad, "format": check.form.value, "fit": check.fit, "bad": bad})


def decision_document(
    action: Action, request: Request, owner: Model, now: datetime, made: Version | None = None
) -> Document:
    """Return a person's decision about a request, and the version that it made if it made one."""
    body = {
        "action": action.value,
        "request": request_part(request, owner, now),
        "version": None if made is None else version_part(made, owner, made.number),
    }
    return document("decision", body)


def outcome_document(value: "Outcome", now: datetime) -> Document:
    """Return what became of one request; a worker prints one a line."""
    return document("outcome", outcome_part(value, now))


def trouble_document(value: "Trouble") -> Document:
    """Return what holds a worker up for a while."""
    return document("trouble", {"error": error_part(value.error), "pause": value.pause})


def _previewed_part(one: "PreviewedClass", result: "Preview") -> Document:
    """Return what a class would lose, with the 95 % interval of the difference."""
    bounds = one.lost.interval()
    return {
        "class": result.model.labels[one.class_index],
        "forget": one.class_index in result.forgotten,
        **{name: getattr(one, name) for name in ("images", "original", "masked", "foretold")},
        "lost": one.lost.difference,
        "interval": None if bounds is None else list(bounds),
    }


def preview_document(result: "Preview") -> Document:
    """Return what forgetting some classes would cost."""
    body = {
        "model": result.model.name,
        "digest": result.digest,
        "record": result.record.to_json(),
        "classes": [_previewed_part(one, result) for one in result.classes],
        "forgotten": list(result.model.labels.names(result.forgotten)),
        "solver": result.solver,
        "depth": result.depth,
        "alpha_r": result.alpha_r,
        "alpha_f": result.alpha_f,
        "accuracy": result.accuracy,
        "confusion": result.confusion,
        "retained": retained_part(RetainedAccuracy.of_metrics(result.accuracy)),
        "missed_gates": list(result.missed_gates),
        "not_known_before": list(result.model.labels.names(result.not_known_before)),
    }
    return document("preview", body)


def status_document(found: "Status", shown: "Iterable[tuple[ModelStatus, Sequence[Request]]]") -> Document:
    """Return what is live, open and late, and which workers are there.

    Args:
        found: The whole ledger at one moment.
        shown: Each model with the requests to list.
    """
    models = [
        {
            **model_part(status.model, status.live),
            "requests": {state.value: count for state, count in status.states.items()},
            # In the order they were filed.
            "open": [request_part(r, status.model, found.now) for r in sorted(requests, key=lambda one: one.id)],
            "overdue": sorted(request.id for request in status.overdue),
            "open_count": status.open_count,
            "overdue_count": status.overdue_count,
            "unattended": status.unattended,
        }
        for status, requests in shown
    ]
    body = {
        "now": found.now,
        "workers": [vars(one) for one in found.workers],
        "leases": [_lease_part(lease) for lease in found.leases],
        "clock": list(found.clock),
        "models": models,
    }
    return document("status", body)


def lease_document(value: "HeldLease | None") -> Document:
    """Return a worker's hold on a request; None if no worker holds it."""
    return document("lease", {"lease": None if value is None else _lease_part(value)})


def _lease_part(value: "HeldLease") -> Document:
    return {
        "request": value.request.id,
        "model": value.model.name,
        "model_id": value.model.id,
        "owner": value.owner,
        "epoch": value.epoch,
        "remaining": value.remaining,
        "expires": value.expires,
        "from_future": value.from_future,
        "told": str(value),
        "hint": value.hint,
    }


def rollback_document(plan: "RollbackPlan", made: Version | None) -> Document:
    """Return what a rollback does, and the version it made; None for a dry run."""
    body = {
        "model": plan.model.name,
        "model_id": plan.model.id,
        "from": plan.live.number,
        "to": plan.target.number,
        "dry_run": made is None,
        "forgets": list(plan.model.labels.names(plan.target.forgotten)),
        "known_again": list(plan.model.labels.names(plan.live.forgotten - plan.target.forgotten)),
        "reopened": [request_part(request, plan.model, plan.now) for request in plan.reopened],
        "now": plan.now,
        "version": None if made is None else made.number,
        "confirmation": plan.confirmation if made is None else None,
    }
    return document("rollback", body)


def purge_document(plan: "PurgePlan", destroyed: Sequence[str] | None) -> Document:
    """Return what a purge does, and the digests of the objects it destroyed; None for a dry run."""
    body = {
        "model": plan.model.name,
        "model_id": plan.model.id,
        "anchor": plan.anchor.number,
        "purged": [version.number for version in plan.purged],
        "final": [request_part(request, plan.model, plan.now) for request in plan.final],
        "class_spaces": plan.spaces,
        "clock_doubt": plan.clock_doubt,
        "dry_run": destroyed is None,
        "destroyed": None if destroyed is None else list(destroyed),
        "confirmation": plan.confirmation if destroyed is None else None,
    }
    return document("purge", body)
