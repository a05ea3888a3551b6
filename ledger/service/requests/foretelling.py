"""Compare what a request made with the preview that it is bound to.

The computation is a function of weights, images, settings and the forgotten set. So the same weights come out as were
previewed, and nothing needs to be measured, unless something changed in between or another machine rounds differently.
Where other weights come out, they are measured on the test images and held against every figure that was shown.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ledger.digest import canonical_json, json_digest
from ledger.domain.events.requests import RequestReceived
from ledger.domain.image_counts import counted
from ledger.domain.intervals import wilson
from ledger.domain.models import Model
from ledger.domain.paired_difference import PairedCounts
from ledger.domain.previews import PreviewedClass, PreviewOutcome, PreviewRecord
from ledger.domain.registered_accuracy import Count
from ledger.domain.requests import Request
from ledger.domain.versions import Version
from ledger.errors import ConflictError, UsageError
from ledger.json_shapes import value_as
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.versions.proposal import Proposal
from ledger.store.unit_of_work import Transaction

MOST_NAMED = 3
"""Classes that one sentence names."""


@dataclass(frozen=True)
class PreviewCheck:
    """How a preview compares with what was made."""

    outcome: PreviewOutcome
    told: str
    """A sentence for people; empty if everything is as it was shown."""


def digest_of(record: PreviewRecord) -> str:
    """Return the digest that names a preview: SHA-256 of its canonical JSON."""
    return json_digest(record.to_json())


def read_preview(text: str, source: str) -> PreviewRecord:
    """Read a preview from the document that ``unledger preview`` writes.

    Raises:
        UsageError: It is none, or was altered.
    """
    hint = "write it with: unledger preview MODEL -c CLASS -o FILE"
    try:
        outer = json.loads(text)
        record = value_as(PreviewRecord, outer["record"])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UsageError(f"{source} is no preview: {error}", hint) from error
    if canonical_json(record.to_json()) != canonical_json(outer["record"]) or outer.get("digest") != digest_of(record):
        raise UsageError(f"{source} was altered: its digest is not that of what it says", hint)
    return record


def require_fitting(
    model: Model, live: Version, anchor: Version, classes: frozenset[int], record: PreviewRecord
) -> None:
    """Refuse a preview that is not of what a request asks for now.

    Args:
        model: The request's model.
        live: Its live version.
        anchor: The version that its computations start from.
        classes: What the request asks to forget.
        record: The preview.

    Raises:
        UsageError: It is of another model or other classes, or says what no preview can.
        ConflictError: The model changed since it was made.
    """
    again = f"look again: unledger preview {model.name} -c CLASS -o FILE"
    if record.model != model.name:
        raise UsageError(f"the preview is of the model {record.model}, not {model.name}", again)
    if not record.describes(len(model.labels)):
        raise UsageError(f"the preview was altered: {model.name} has no such classes, or no images count so", again)
    if not classes <= set(record.forgotten):
        raise UsageError("the preview is of other classes than the request names", again)
    if set(record.forgotten) != live.forgotten | classes:
        raise ConflictError(
            f"the preview was made when {model.name} had forgotten other classes than version {live.number} has", again
        )
    if (record.anchor, record.data) != (anchor.weights, model.data_digest):
        raise ConflictError(f"the weights or images of {model.name} changed since the preview was made", again)


def preview_of(tx: Transaction, request: Request) -> PreviewRecord | None:
    """Return the preview that a request is bound to; None where it has none."""
    received = tx.audit.events(request_id=request.id, kinds=(RequestReceived.kind,))
    records = (entry.payload.foretold for entry in received if isinstance(entry.payload, RequestReceived))
    return next((one for one in records if one is not None), None)


def check_preview(
    ledger: Ledger,
    model: Model,
    record: PreviewRecord | None,
    forgotten: frozenset[int],
    proposal: Proposal | None,
    at: Progress,
) -> PreviewCheck | None:
    """Compare what a request made with its preview; None where it has none.

    Args:
        ledger: The ledger.
        model: The request's model.
        record: From :func:`preview_of`.
        forgotten: All that is forgotten with it.
        proposal: The computed weights; None if nothing was computed.
        at: Told about phases.
    """
    if record is None:
        return None
    why = _incomparable(model, record, forgotten, proposal)
    if why:
        return _contradicted(why)
    measured = {} if proposal is None or proposal.evidence is None else proposal.evidence.standing
    counts = counted(measured["accuracy"].metrics.get("test")) if "accuracy" in measured else {}
    # A gate policy bounds the images of a class that are measured, and a preview is of them all.
    same_images = all(
        one.class_index in counts and counts[one.class_index].images == one.images for one in record.classes
    )
    if proposal is None or proposal.weights == record.weights:
        # Whoever writes a preview by hand can name the right weights beside other figures.
        beyond = _beyond(model, record, counts) if same_images else []
        if beyond:
            return _contradicted(f"its figures are not those of the weights that it names: {_few(beyond)}")
        return PreviewCheck(PreviewOutcome.EXACT, "")
    if not same_images:
        # Imported here: it needs torch, and the queue does not.
        from .outcome_counts import recognised_by

        counts = recognised_by(ledger, model, proposal.weights, at)
    beyond = _beyond(model, record, counts)
    if beyond:
        return _contradicted(f"other weights were computed, and {_few(beyond)}")
    return PreviewCheck(
        PreviewOutcome.WITHIN,
        "other weights were computed than were previewed; their figures lie within the intervals that were shown",
    )


def _incomparable(model: Model, record: PreviewRecord, forgotten: frozenset[int], proposal: Proposal | None) -> str:
    """Return why what was made cannot be what was shown; empty if it may be."""
    if forgotten != set(record.forgotten):
        names = ", ".join(model.labels.names(forgotten))
        shown = ", ".join(model.labels.names(frozenset(record.forgotten)))
        return f"it showed the model without {shown}, and the result is without {names}"
    if proposal is None:
        return "its classes had been forgotten meanwhile, and nothing was computed"
    if record.data != model.data_digest:
        return "the images changed since, and its figures are of others"
    return ""


def _contradicted(why: str) -> PreviewCheck:
    return PreviewCheck(PreviewOutcome.CONTRADICTED, f"the preview is contradicted: {why}")


def _few(sentences: list[str]) -> str:
    more = f" and {len(sentences) - MOST_NAMED} more" if len(sentences) > MOST_NAMED else ""
    return "; ".join(sentences[:MOST_NAMED]) + more


def _beyond(model: Model, record: PreviewRecord, counts: Mapping[int, Count]) -> list[str]:
    """Return a sentence for each class whose figure lies beyond what was shown."""
    found = []
    for one in record.classes:
        correct = counts[one.class_index].correct if one.class_index in counts else 0
        if not _within(one, correct, forgotten=one.class_index in record.forgotten):
            label = model.labels[one.class_index]
            found.append(
                f"{correct:,} of {one.images:,} images of {label} are recognised, where {one.foretold:,} were shown"
            )
    return found


def _within(shown: PreviewedClass, correct: int, *, forgotten: bool) -> bool:
    """Whether a count lies within the interval that was shown: of the loss, and of the share for a forgotten class."""
    if not shown.images:
        return True
    if forgotten:
        share = wilson(shown.foretold, shown.images)
        return share is None or share.low <= correct / shown.images <= share.high
    loss = PairedCounts(shown.images, shown.masked, shown.foretold, shown.both).interval()
    return loss is None or loss[0] <= (shown.masked - correct) / shown.images <= loss[1]
