"""File what several callers ask for at the same time, as documents."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ledger.desk.asked import FiledRequest, ModelKey
from ledger.documents.document import Document
from ledger.documents.requests import receipts_document
from ledger.domain.labels import LabelMap
from ledger.domain.models import Model
from ledger.domain.requests import NewRequest
from ledger.errors import LedgerError
from ledger.service.ledger import Ledger
from ledger.service.models.lookup import get_model
from ledger.service.requests.filing_together import FilingCall, enqueue_together
from ledger.service.requests.foretelling import read_preview

from .names import model_name


@dataclass(frozen=True)
class Asked:
    """What one caller asks to file: all of it or none."""

    actor: str
    model: ModelKey
    filed: Sequence[FiledRequest]
    needs_approval: bool = False
    key: str | None = None


def file_together(ledger: Ledger, asked: Sequence[Asked]) -> list[Document | LedgerError]:
    """File for several callers; return the document, or the error, of each.

    Args:
        ledger: The ledger, whoever is its actor: each caller's requests are filed in the caller's name.
        asked: What each asks for.
    """
    owners: dict[ModelKey, Model] = {}
    found: list[Document | LedgerError | FilingCall] = []
    for one in asked:
        try:
            if one.model not in owners:
                owners[one.model] = get_model(ledger, model_name(ledger, one.model))
            owner = owners[one.model]
            new = [new_request(filed, owner.labels, one.actor) for filed in one.filed]
            found.append(FilingCall(owner.name, new, one.needs_approval, one.key))
        except LedgerError as error:
            found.append(error)
    outcomes = iter(enqueue_together(ledger, [one for one in found if isinstance(one, FilingCall)]))
    done: list[Document | LedgerError] = []
    for one, prepared in zip(asked, found, strict=True):
        outcome = next(outcomes) if isinstance(prepared, FilingCall) else prepared
        if isinstance(outcome, list):
            outcome = receipts_document(outcome, owners[one.model], ledger.clock(), None)
        done.append(outcome)
    return done


def new_request(filed: FiledRequest, labels: LabelMap, actor: str) -> NewRequest:
    """Return a request as the ledger takes it.

    Raises:
        UsageError: It names a class that is none, or its preview is none.
    """
    preview = None if filed.preview is None else read_preview(json.dumps(filed.preview), "the preview")
    return NewRequest(
        classes=labels.resolve_all(filed.classes),
        actor=actor,
        reason=filed.reason,
        basis=filed.basis,
        external_id=filed.external_id,
        received_at=filed.received_at,
        due_at=filed.due_at,
        idempotency_key=filed.idempotency_key,
        preview=preview,
    )
