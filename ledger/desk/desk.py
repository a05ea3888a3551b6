"""What can be asked of a ledger, whoever asks and wherever it lies.

One object for each subject, one method for each question, plain values in, JSON documents out. ``local`` answers from a
ledger of this machine, ``remote`` asks a server. Rules live in the services: a desk translates, and nothing more.

A model is named by its name, or by its number where it is one: names are free text and belong in no address.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from ledger.documents.document import Document
from ledger.domain.states import Action, RequestState

from .access import AccessDesk, PreviewsDesk, WebhooksDesk
from .asked import FiledRequest, ModelKey, ReportFiles


class ModelsDesk(Protocol):
    """Questions about registered models."""

    def all(self) -> Document:
        """Return every model with its live version, by name."""
        ...

    def show(self, model: ModelKey) -> Document:
        """Return a model, its live version, and the newest evidence on that."""
        ...

    def labels(self, model: ModelKey) -> list[str]:
        """Return the labels of a model's classes, in the order of its outputs."""
        ...

    def spaces(self, model: ModelKey) -> Document:
        """Return the class spaces that are stored of a model."""
        ...


class VersionsDesk(Protocol):
    """Questions about the versions of a model, and what changes which one is live."""

    def all(self, model: ModelKey) -> Document:
        """Return a model's versions, each with its level of evidence."""
        ...

    def show(self, model: ModelKey, version: int) -> Document:
        """Return a model, one version of it, and the newest evidence on that."""
        ...

    def live_at(self, model: ModelKey, moment: datetime) -> Document:
        """Return the version that was live at a moment, as a list of one."""
        ...

    def evidence(self, model: ModelKey, version: int | None = None) -> Document:
        """Return what was measured on a version's weights, and what was not; None asks about what is live."""
        ...

    def plan_rollback(self, model: ModelKey, to: int) -> Document:
        """Return what rolling back to a version would do, and what confirms that."""
        ...

    def roll_back(self, model: ModelKey, to: int, confirmation: str, reason: str = "") -> Document:
        """Roll back as a plan says that somebody has seen."""
        ...

    def plan_purge(self, model: ModelKey, older_than: timedelta) -> Document:
        """Return what a purge would destroy, and what confirms that."""
        ...

    def purge(
        self, model: ModelKey, older_than: timedelta, confirmation: str, *, clock_is_right: bool = False
    ) -> Document:
        """Destroy what a plan says that somebody has seen."""
        ...


class RequestsDesk(Protocol):
    """Questions and decisions about requests."""

    def all(
        self,
        model: ModelKey | None = None,
        states: Sequence[RequestState] = (),
        *,
        after: int = 0,
        limit: int | None = None,
    ) -> Document:
        """Return requests in the order they were filed: those numbered above ``after``, at most ``limit``."""
        ...

    def show(self, request: int) -> Document:
        """Return a request and everything that happened to it."""
        ...

    def file(
        self,
        model: ModelKey,
        filed: Sequence[FiledRequest],
        *,
        needs_approval: bool = False,
        key: str | None = None,
    ) -> Document:
        """File one or many requests, all or none of them up to a thousand.

        Args:
            model: The model that shall forget.
            filed: What to file, in order.
            needs_approval: Whether a person must approve.
            key: An idempotency key for all of them together, in the place of one for each.
        """
        ...

    def file_bulk(
        self, model: ModelKey, text: str, *, form: str | None = None, name: str = "", needs_approval: bool = False
    ) -> Document:
        """File the requests of a whole file: CSV, JSON Lines, or lines of classes; where one line is bad, none.

        Args:
            model: The model that shall forget.
            text: What the file holds.
            form: ``csv``, ``jsonl`` or ``lines``; None tells that from its name and its first line.
            name: What to call the file.
            needs_approval: Whether a person must approve.
        """
        ...

    def check_bulk(
        self, model: ModelKey, text: str, *, form: str | None = None, name: str = "", needs_approval: bool = False
    ) -> Document:
        """Return every line of such a file that is bad, with the reason; nothing is filed."""
        ...

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

        Args:
            request: Which request.
            action: What is decided.
            reason: Why.
            waive_gates: With retry: accept the result even if it misses a quality gate.
            solvers: With retry: solvers that compute it.
            expected: Revision of the request that the decision is about; None takes it as it is.
        """
        ...

    def extend(self, request: int, due_at: datetime, reason: str, *, expected: str | None = None) -> Document:
        """Move the due date of an open request to a later moment."""
        ...

    def withdraw(
        self,
        request: int,
        reason: str = "",
        *,
        waive_gates: bool = False,
        solvers: Sequence[str] = (),
        expected: str | None = None,
    ) -> Document:
        """Withdraw a request. Where that takes new weights and none are computed here, return the job of a worker."""
        ...

    def withdrawal(self, job: str) -> Document:
        """Return a withdrawal that waits for a worker, with the decision once it is carried out."""
        ...

    def lease(self, request: int) -> Document:
        """Return which worker holds a request."""
        ...

    def break_lease(self, request: int, reason: str, *, expected: str | None = None) -> Document:
        """Take a running request from the worker that holds it."""
        ...


class AuditDesk(Protocol):
    """Questions about the audit log."""

    def log(self, model: ModelKey | None = None, *, after: int = 0, limit: int | None = None) -> Document:
        """Return entries, oldest first: those numbered above ``after``, at most ``limit``."""
        ...

    def verify(self, kept: str | None = None, key: str | None = None) -> Document:
        """Verify the log and every row that it tells of.

        Args:
            kept: What was kept elsewhere: a head as ``SIZE:SHA256``, or the contents of a checkpoint or witness file.
            key: Verifier key; None takes the ledger's own.
        """
        ...

    def key(self) -> Document:
        """Return the verifier key."""
        ...

    def checkpoint(self) -> Document:
        """Sign how far the log reaches and what it holds."""
        ...

    def newest_checkpoint(self) -> Document | None:
        """Return the checkpoint that was signed last, None before there is one; nothing is signed."""
        ...

    def proof(self, seq: int) -> Document:
        """Return a proof that an entry stands in the signed log."""
        ...

    def export(self) -> list[str]:
        """Return the lines of an export: every entry, and the newest checkpoint."""
        ...


class CertificatesDesk(Protocol):
    """Questions about certificates, and issuing them."""

    def all(self) -> Document:
        """Return every certificate, in the order they were issued."""
        ...

    def show(self, certificate: int) -> Document:
        """Return a certificate's statement, and what happened since."""
        ...

    def file(self, certificate: int) -> bytes:
        """Return the file of a certificate, which others verify."""
        ...

    def openings(self, certificate: int) -> bytes:
        """Return the file that opens a certificate's commitments to class names."""
        ...

    def plan(self, request: int, *, live: bool = False) -> Document:
        """Return what would be certified, and what confirms that; nothing is signed."""
        ...

    def issue(
        self, request: int, *, live: bool = False, renew: bool = False, confirmation: str | None = None
    ) -> Document:
        """Certify how a fulfilled request was carried out; with a confirmation, only what that plan said."""
        ...

    def erase_openings(self, certificate: int) -> Document:
        """Erase what opens a certificate's commitments to class names."""
        ...


class ReportsDesk(Protocol):
    """Reports to read."""

    def one(self, model: ModelKey, *, tables: bool = False) -> ReportFiles:
        """Return the report on a model, with the numbers behind its pictures if asked for."""
        ...

    def every(self) -> dict[str, str]:
        """Return a page for each model, and an index before them, by name of the file."""
        ...


class UpkeepDesk(Protocol):
    """Questions about the ledger itself."""

    def facts(self) -> Document:
        """Return what the ledger is, and whether it may be written to."""
        ...

    def status(self, model: ModelKey | None = None, *, most: int | None = None, overdue: bool = False) -> Document:
        """Return what is live, open and late, and which workers are there.

        Args:
            model: Only this model.
            most: How many requests to list of each model; None lists all.
            overdue: List only what is late.
        """
        ...


class Desk(Protocol):
    """Everything that can be asked of a ledger."""

    @property
    def models(self) -> ModelsDesk:
        """Questions about registered models."""
        ...

    @property
    def versions(self) -> VersionsDesk:
        """Questions about versions."""
        ...

    @property
    def requests(self) -> RequestsDesk:
        """Questions and decisions about requests."""
        ...

    @property
    def audit(self) -> AuditDesk:
        """Questions about the audit log."""
        ...

    @property
    def certificates(self) -> CertificatesDesk:
        """Questions about certificates."""
        ...

    @property
    def reports(self) -> ReportsDesk:
        """Reports to read."""
        ...

    @property
    def upkeep(self) -> UpkeepDesk:
        """Questions about the ledger itself."""
        ...

    @property
    def access(self) -> "AccessDesk":
        """Questions about tokens."""
        ...

    @property
    def webhooks(self) -> "WebhooksDesk":
        """Questions about who is told of events."""
        ...

    @property
    def previews(self) -> "PreviewsDesk":
        """Previews that a worker computes."""
        ...
