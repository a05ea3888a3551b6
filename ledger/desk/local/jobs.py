"""What a worker writes as the answers to jobs: the documents that a command here would print."""

from ledger.documents.document import Document
from ledger.documents.requests import decision_document, preview_document
from ledger.domain.requests import Request
from ledger.domain.states import Action
from ledger.domain.versions import Version
from ledger.service.requests.job_worker import JobDocuments
from ledger.store.unit_of_work import Transaction


def _withdrawn(tx: Transaction, after: Request, made: Version | None) -> Document:
    return decision_document(Action.WITHDRAW, after, tx.models.by_id(after.model_id), after.updated_at, made)


JOB_DOCUMENTS = JobDocuments(preview=preview_document, withdrawal=_withdrawn)
