"""Everything the report says, gathered from the ledger. Reads SQL only: no torch, no weights."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from ledger.audit.events import AuditEvent
from ledger.domain.due import days_left
from ledger.domain.evidence import Evidence
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.versions import LIVE, Version
from ledger.errors import AuditError
from ledger.service.ledger import Ledger
from ledger.service.requests.listing import list_requests
from ledger.service.versions.model_history import History, history
from ledger.store.unit_of_work import Transaction

TRIES = 3
REGISTERED = "the registered weights"


@dataclass(frozen=True)
class AuditView:
    """The audit history, and whether it holds together."""

    head: str | None
    """``SIZE:DIGEST`` as the database states it; None if even that is missing."""
    problem: str = ""
    """What does not verify, in one sentence; empty if all does."""
    hint: str = ""
    first_bad: int | None = None

    @property
    def verified(self) -> bool:
        """Whether every entry, note and the head verified."""
        return not self.problem


@dataclass(frozen=True)
class Remarks:
    """What only the audit history knows about a model's versions; empty where it does not verify."""

    reopened: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By version: the requests that this rollback reopened."""
    reasons: dict[int, str] = field(default_factory=dict)
    """By version: why it was rolled back to."""
    compared: dict[tuple[int, str], str] = field(default_factory=dict)
    """By version and evaluator: ``base``, a version number or ``file``."""
    gates_missed: dict[int, int] = field(default_factory=dict)
    """By version: how many quality gates a person waived."""


@dataclass(frozen=True)
class Measurement:
    """Evidence that applies to a version."""

    source: int
    """The version it was measured on: this one, or another with the same weights."""
    evidence: dict[str, Evidence]


@dataclass(frozen=True)
class Report:
    """One model, everything about it, at one moment."""

    history: History
    requests: tuple[Request, ...]
    audit: AuditView
    remarks: Remarks
    now: datetime

    @property
    def model(self) -> Model:
        """The model reported on."""
        return self.history.model

    @property
    def live(self) -> Version:
        """The version in use."""
        return self.history.live

    @property
    def open_requests(self) -> tuple[Request, ...]:
        """Requests that somebody waits for, the most urgent first."""
        return tuple(sorted((r for r in self.requests if r.is_open), key=lambda r: (r.due_at, r.id)))

    @property
    def overdue(self) -> tuple[Request, ...]:
        """Open requests past their due dates."""
        return tuple(r for r in self.open_requests if r.due_at < self.now)

    def days_left(self, request: Request) -> int:
        """Return whole days until a request's due date, negative once it has passed."""
        return days_left(request.due_at, self.now)

    def changes(self, version: Version) -> tuple[frozenset[int], frozenset[int]]:
        """Return the classes newly forgotten in a version, and those known again, against its parent."""
        parents = {v.number: v.forgotten for v in self.history.versions}
        before = frozenset[int]() if version.parent is None else parents.get(version.parent, frozenset())
        return version.forgotten - before, before - version.forgotten

    def measurement(self, version: Version) -> Measurement | None:
        """Return the evidence on a version, else that on the newest other one with the very same weights."""
        twins = [
            other
            for other in reversed(self.history.versions)
            if (other.weights, other.forgotten) == (version.weights, version.forgotten) and other != version
        ]
        for candidate in (version, *twins):
            evidence = self.history.evidence.get(candidate.number)
            if evidence:
                return Measurement(candidate.number, evidence)
        return None

    def compared(self, version: int, evaluator: str) -> str:
        """Say what an evaluator compared a version with."""
        against = self.remarks.compared.get((version, evaluator), "")
        if against in ("0", "base"):
            return REGISTERED
        if against.isdecimal():
            return f"version {against}"
        return "weights from a file" if against == "file" else "the weights it was compared with"

    def periods(self, version: Version) -> Iterator[tuple[datetime, datetime | None]]:
        """Yield when a version was live: from, and until (None: it still is)."""
        moves = [move for move in self.history.moves if move.alias == LIVE]
        for move, following in zip(moves, [*moves[1:], None], strict=True):
            if move.version == version.number:
                yield move.moved_at, None if following is None else following.moved_at


def gather(ledger: Ledger, model_name: str) -> Report:
    """Gather a report.

    Raises:
        NotFoundError: There is no such model.
    """
    now = ledger.clock()
    for _ in range(TRIES):
        # Versions and requests are read in two transactions: read again if anything was written between.
        before = _head(ledger)
        versions = history(ledger, model_name)
        requests = tuple(request for _, request in list_requests(ledger, model_name))
        if _head(ledger) == before:
            break  # else, on a ledger that never rests, the last reading has to do
    with ledger.database.read() as tx:
        audit = _verified(tx)
        remarks = _remarks(tx, model_name) if audit.verified else Remarks()
    return Report(versions, requests, audit, remarks, now)


def _head(ledger: Ledger) -> str | None:
    with ledger.database.read() as tx:
        return _stated_head(tx)


def _stated_head(tx: Transaction) -> str | None:
    try:
        return str(tx.audit.head())
    except AuditError:
        return None


def _verified(tx: Transaction) -> AuditView:
    try:
        return AuditView(str(tx.audit.verify()))
    except AuditError as error:
        return AuditView(_stated_head(tx), error.message, error.hint, error.seq)


def _remarks(tx: Transaction, model_name: str) -> Remarks:
    found = Remarks()
    for event in tx.audit.events(model=model_name):
        version = event.data.get("version")
        if isinstance(version, int):
            _note(found, event, version)
    return found


def _note(found: Remarks, event: AuditEvent, version: int) -> None:
    match event.kind:
        case "model.rolled_back":
            found.reopened[version] = tuple(event.data.get("reopened", ()))
            found.reasons[version] = event.note or ""
        case "version.evaluated":
            found.compared[version, str(event.data.get("evaluator"))] = str(event.data.get("against", ""))
        case "request.fulfilled":
            found.gates_missed[version] = int(event.data.get("gates_missed", 0))
        case _:
            pass
