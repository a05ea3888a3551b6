"""The document about going on with an older database."""

from typing import TYPE_CHECKING

from .document import Document, document

if TYPE_CHECKING:
    from ledger.service.upkeep.recovery import Recovered, RecoveryPlan


def recovery_document(plan: "RecoveryPlan", done: "Recovered | None") -> Document:
    """Return what going on with a database means, and what was filed again; None if nothing was done."""
    lost = plan.lost
    body = {
        "entries": plan.size,
        "lost_entries": None if lost is None else lost.checkpoint.size,
        "lost_root": None if lost is None else lost.checkpoint.root.hex(),
        "state_known": lost is None or bool(lost.states),
        "requests_known_since": None if lost is None else lost.since,
        "returning": [{"model": model, "classes": list(labels)} for model, labels in plan.returning],
        "lost_requests": [
            {"number": note.number, "model": note.model, "state": note.state, "due_at": note.due_at}
            for note in plan.filed_again
        ],
        "unnamed": [{"model": one.model, "indices": sorted(one.classes)} for one in plan.unnamed],
        "queued_again": list(plan.queued_again),
        "held": list(plan.held),
        "withdrawn_since": list(plan.withdrawn),
        "lost_models": list(plan.lost_models),
        "lost_weights": list(plan.lost_weights),
        "filed_again": None if done is None else [request.id for request in done.filed],
        "refused": None
        if done is None
        else [
            {"number": getattr(one, "number", None), "model": one.model, "why": error.message}
            for one, error in done.refused
        ],
    }
    return document("recovery", body)
