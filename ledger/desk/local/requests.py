"""Requests, and decisions about them, as documents."""

from collections.abc import Sequence
from datetime import datetime

from ledger.desk.asked import FiledRequest, ModelKey
from ledger.documents import requests as documents
from ledger.documents.document import Document
from ledger.documents.jobs import withdrawal_job_document
from ledger.domain.jobs import Job, JobKind
from ledger.domain.requests import Request
from ledger.domain.states import Action, RequestState
from ledger.domain.versions import Version
from ledger.errors import LedgerError, RetryLaterError, UsageError
from ledger.service.computation.compute import Compute
from ledger.service.evidence.gating import open_gated
from ledger.service.ledger import Ledger
from ledger.service.models.lookup import get_model, get_model_numbered
from ledger.service.progress import Progress
from ledger.service.requests.bulk import check_bulk, file_bulk
from ledger.service.requests.bulk_files import BulkFormat
from ledger.service.requests.decisions import decide
from ledger.service.requests.extension import extend_due
from ledger.service.requests.jobs import show_job
from ledger.service.requests.leases import break_lease, show_lease
from ledger.service.requests.listing import count_requests, list_requests, request_history, show_request
from ledger.service.requests.withdrawal import withdraw
from ledger.service.requests.withdrawal_jobs import file_withdrawal, waiting_withdrawal

from .filing import Asked, file_together
from .names import model_name, optional_name


class LocalRequests:
    """Answers questions about requests, and takes decisions about them.

    Args:
        ledger: The ledger; its actor files and decides.
        progress: Follows a withdrawal.
        computes: Whether a withdrawal may compute new weights here.
    """

    def __init__(self, ledger: Ledger, progress: Progress, *, computes: bool) -> None:
        self._ledger = ledger
        self._progress = progress
        self._computes = computes

    def all(
        self,
        model: ModelKey | None = None,
        states: Sequence[RequestState] = (),
        *,
        after: int = 0,
        limit: int | None = None,
    ) -> Document:
        """Return requests in the order they were filed: those numbered above ``after``, at most ``limit``.

        Raises:
            NotFoundError: There is no such model.
        """
        name, wanted = optional_name(self._ledger, model), states or None
        found = list_requests(self._ledger, name, wanted, after=after, limit=limit)
        full = len(found) == limit
        more = count_requests(self._ledger, name, wanted, after=found[-1][1].id if found else after) if full else 0
        return documents.requests_document(found, self._ledger.clock(), more=more)

    def show(self, request: int) -> Document:
        """Return a request and everything that happened to it.

        Raises:
            NotFoundError: There is none with this number.
        """
        return documents.request_document(request_history(self._ledger, request), self._ledger.clock())

    def file(
        self,
        model: ModelKey,
        filed: Sequence[FiledRequest],
        *,
        needs_approval: bool = False,
        key: str | None = None,
    ) -> Document:
        """File one or many requests, all or none of them up to a thousand.

        Raises:
            NotFoundError: There is no such model.
            UsageError: A request names no class or one that is none, its dates contradict each other, or its preview
                is none.
            TooFewRetainedError: Too few classes would be left.
            IdempotencyConflictError: A key was used before, for something else.
            ConflictError: The model changed since the preview was made that a request is bound to.
        """
        asked = Asked(self._ledger.actor, model, filed, needs_approval, key)
        (done,) = file_together(self._ledger, [asked])
        if isinstance(done, LedgerError):
            raise done
        return done

    def file_bulk(
        self, model: ModelKey, text: str, *, form: str | None = None, name: str = "", needs_approval: bool = False
    ) -> Document:
        """File the requests of a whole file; where one line is bad, none.

        Raises:
            NotFoundError: There is no such model.
            UsageError: A line is no request, or the file is too large, empty or in no known format.
            LedgerError: As :meth:`file` raises.
        """
        owner = get_model(self._ledger, model_name(self._ledger, model))
        receipts = file_bulk(self._ledger, owner.name, text, form=_form(form), name=name, approval=needs_approval)
        return documents.receipts_document(receipts, owner, self._ledger.clock(), None)

    def check_bulk(
        self, model: ModelKey, text: str, *, form: str | None = None, name: str = "", needs_approval: bool = False
    ) -> Document:
        """Return every line of a file of requests that is bad; nothing is filed.

        Raises:
            NotFoundError: There is no such model.
            UsageError: The file is too large, empty or in no known format.
        """
        owner = model_name(self._ledger, model)
        check = check_bulk(self._ledger, owner, text, form=_form(form), name=name, approval=needs_approval)
        return documents.bulk_check_document(check)

    def decide(
        self,
        request: int,
        action: Action,
        reason: str = "",
        *,
        waive_gates: bool = False,
        solvers: Sequence[str] = (),
        expected: str | None = None,
    ) -> Document:
        """Approve, deny, cancel, hold, release or retry a request that no worker holds.

        Raises:
            NotFoundError: There is none with this number.
            TransitionError: Its state does not allow it.
            PreconditionError: Something happened to it since the expected revision.
        """
        done = decide(
            self._ledger, request, action, reason, waive_gates=waive_gates, solvers=solvers, expected=expected
        )
        return self._decided(action, done)

    def extend(self, request: int, due_at: datetime, reason: str, *, expected: str | None = None) -> Document:
        """Move the due date of an open request to a later moment.

        Raises:
            NotFoundError: There is none with this number.
            UsageError: There is no reason, or the new due date is not later than the one before.
            TransitionError: Nobody waits for the request.
            PreconditionError: Something happened to it since the expected revision.
        """
        return self._decided(Action.EXTEND, extend_due(self._ledger, request, due_at, reason, expected=expected))

    def withdraw(
        self,
        request: int,
        reason: str = "",
        *,
        waive_gates: bool = False,
        solvers: Sequence[str] = (),
        expected: str | None = None,
    ) -> Document:
        """Withdraw a request. Where that takes new weights and none are computed here, return the job of a worker.

        Raises:
            NotFoundError: There is none with this number.
            TransitionError: It is neither fulfilled nor reopened.
            PurgedError: A class of it can never come back.
            GateError: Without the request, the other classes miss a quality gate.
            UsageError: Solvers are named or gates waived, and nothing has to be computed.
        """
        if not self._computes:
            job = file_withdrawal(
                self._ledger, request, reason, waive_gates=waive_gates, solvers=solvers, expected=expected
            )
            if job is not None:
                return self._job(job)

        def elsewhere(_ledger: Ledger, _model: str) -> Compute:
            raise RetryLaterError(f"what request {request} asks for changed just now", "try again")

        done, made = withdraw(
            self._ledger,
            request,
            reason,
            self._progress,
            waive_gates=waive_gates,
            solvers=solvers,
            open_model=open_gated if self._computes else elsewhere,
            expected=expected,
        )
        return self._decided(Action.WITHDRAW, done, made)

    def withdrawal(self, job: str) -> Document:
        """Return a withdrawal that waits for a worker, with the decision once it is carried out.

        Raises:
            NotFoundError: There is none of this id, or its answer was kept long enough.
            RowError: Its row is not as the ledger wrote it.
        """
        return self._job(show_job(self._ledger, JobKind.WITHDRAWAL, job))

    def waiting_withdrawal(self, request: int) -> Document | None:
        """Return the job that is to withdraw a request; None if there is none, or it has ended.

        Raises:
            NotFoundError: There is none with this number.
        """
        job = waiting_withdrawal(self._ledger, request)
        return None if job is None else self._job(job)

    def lease(self, request: int) -> Document:
        """Return which worker holds a request.

        Raises:
            NotFoundError: There is none with this number.
        """
        return documents.lease_document(show_lease(self._ledger, request))

    def break_lease(self, request: int, reason: str, *, expected: str | None = None) -> Document:
        """Take a running request from the worker that holds it, and put it back in the queue.

        Raises:
            NotFoundError: There is none with this number.
            TransitionError: It is not running.
            UsageError: There is no reason.
        """
        if not reason:
            raise UsageError("--force needs a reason", "say with --reason why the lease is broken")
        return self._decided(Action.RELEASE, break_lease(self._ledger, request, reason, expected=expected))

    def _job(self, job: Job) -> Document:
        return withdrawal_job_document(job, get_model_numbered(self._ledger, job.model_id))

    def _decided(self, action: Action, done: Request, made: Version | None = None) -> Document:
        owner, _ = show_request(self._ledger, done.id)
        return documents.decision_document(action, done, owner, self._ledger.clock(), made)


def _form(form: str | None) -> BulkFormat | None:
    try:
        return None if form is None else BulkFormat(form)
    except ValueError:
        raise UsageError(f"{form!r} is no format of requests", f"one of {', '.join(BulkFormat)}") from None
