"""What the history of a request tells beside its state: the preview it is bound to, and whether it came too late."""

from collections.abc import Sequence

from ledger.documents.document import Document
from ledger.domain.due import days_left
from ledger.domain.events.event import EventKind
from ledger.domain.previews import PreviewOutcome
from ledger.domain.states import RequestState

from .moments import moment

COMPARED = {
    PreviewOutcome.EXACT: "every figure is the one that was shown",
    PreviewOutcome.WITHIN: "other weights were computed; their figures lie within the intervals shown",
    PreviewOutcome.CONTRADICTED: "what was made is not what was shown",
}
"""How a result compares with its preview, in words."""


def binding_of(request: Document) -> Document | None:
    """Return the preview that a request is bound to and how the last result compared; None if it is bound to none."""
    digest = _last(request["events"], EventKind.REQUEST_RECEIVED)
    if digest is None or not digest["data"].get("preview"):
        return None
    fulfilled = _last(request["events"], EventKind.REQUEST_FULFILLED)
    outcome = None if fulfilled is None else fulfilled["data"].get("preview")
    return {
        "digest": digest["data"]["preview"],
        "outcome": outcome,
        "says": _compared(outcome, was_fulfilled=fulfilled is not None),
        "contradicted": outcome == PreviewOutcome.CONTRADICTED,
    }


def fulfilment_of(request: Document) -> Document | None:
    """Return when a fulfilled request was, and the days that were left then; None of one that is not."""
    fulfilled = _last(request["events"], EventKind.REQUEST_FULFILLED)
    if fulfilled is None or request["state"] != RequestState.FULFILLED:
        return None
    at = moment(fulfilled["at"])
    return {"at": at, "days_left": days_left(moment(request["due_at"]), at)}


def _compared(outcome: str | None, *, was_fulfilled: bool) -> str:
    if outcome is not None:
        return COMPARED[PreviewOutcome(outcome)]
    if was_fulfilled:
        return "nothing was computed, so there was nothing to compare"
    return "compared with the result when that is there"


def _last(events: Sequence[Document], kind: EventKind) -> Document | None:
    return next((one for one in reversed(events) if one["kind"] == kind), None)
