"""Everything that a report says about one model, as plain values."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from ledger.domain.chance import was_known
from ledger.domain.due import days_left
from ledger.domain.evidence import BASE, FILE, Evidence, WeightsEvidence
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.versions import LIVE, Version, not_known_before
from ledger.service.versions.model_history import ModelHistory

from .audit_facts import AuditFacts, AuditStatus
from .metrics import ConfusionMetrics, read_confusion

REGISTERED = "the registered weights"
"""How the page calls the weights of version 0."""


@dataclass(frozen=True)
class ModelReport:
    """One model at one time: its versions, requests and evidence, and the state of the audit log."""

    history: ModelHistory
    requests: tuple[Request, ...]
    audit: AuditStatus
    audit_facts: AuditFacts
    now: datetime
    """In the ledger's time zone, in which all times are told."""
    _confusions: dict[tuple[str, frozenset[int]], ConfusionMetrics | None] = field(default_factory=dict, compare=False)
    """Matrices that were read, by weights and forgotten classes: those of a thousand classes take long to read."""

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
        """Open requests, by due date."""
        return tuple(sorted((r for r in self.requests if r.is_open), key=lambda r: (r.due_at, r.id)))

    @property
    def overdue(self) -> tuple[Request, ...]:
        """Open requests past their due dates."""
        return tuple(r for r in self.open_requests if r.due_at < self.now)

    def local(self, moment: datetime) -> datetime:
        """Return a moment in the time zone in which the page tells times."""
        return moment.astimezone(self.now.tzinfo)

    def days_left(self, request: Request) -> int:
        """Return whole days until a request's due date, negative once it has passed."""
        return days_left(request.due_at, self.now)

    def changes(self, version: Version) -> tuple[frozenset[int], frozenset[int]]:
        """Return the classes that a version forgets and its parent knows, and those that it knows again."""
        parents = {v.number: v.forgotten for v in self.history.versions}
        before = frozenset[int]() if version.parent is None else parents.get(version.parent, frozenset())
        return version.forgotten - before, before - version.forgotten

    def evidence_on(self, version: Version) -> WeightsEvidence:
        """Return all evidence on a version's weights, measured on it or on another version with the same bytes."""
        return self.history.measured.get(version.number, WeightsEvidence(()))

    def shown(self, version: Version) -> dict[str, Evidence]:
        """Return what the page shows of each evaluator."""
        return self.evidence_on(version).shown

    def confusion(self, version: Version) -> ConfusionMetrics | None:
        """Return what ``confusion`` found on a version's weights; None if it did not measure them."""
        key = version.weights, version.forgotten
        if key not in self._confusions:
            evidence = self.shown(version).get("confusion")
            read = read_confusion(evidence.metrics, len(self.model.labels)) if evidence else None
            self._confusions[key] = read
        return self._confusions[key]

    def measured_on(self, version: Version) -> tuple[int, ...]:
        """Return on which other versions, with the very same weights, the evidence was measured."""
        known = {one.version for one in self.shown(version).values() if one.version is not None}
        return tuple(sorted(known - {version.number}))

    def not_known_before(self, version: Version) -> frozenset[int]:
        """Return the classes that a version forgets and that the registered weights did not know.

        Recipes say how well each class was recognised; where an earlier release recorded none, the confusion matrix of
        the registered weights does.
        """
        classes = len(self.model.labels)
        versions = self.history.versions
        told = frozenset(k for v in versions for k in v.recipe.base_forgotten)
        measured = frozenset[int]()
        evidence = self.shown(version).get("confusion")
        if version.forgotten - told and evidence is not None and self.compared(evidence) == REGISTERED:
            confusion = self.confusion(version)
            before = confusion.before if confusion else None
            measured = frozenset(
                k
                for k in version.forgotten - told
                if before is not None
                and before.images[k]
                and not was_known(int(before.counts[k][k]), int(before.images[k]), classes)
            )
        return not_known_before(versions, version.forgotten, classes) | measured

    def compared(self, evidence: Evidence) -> str:
        """Return in words what an evaluator compared a version with."""
        against = evidence.provenance.against
        against = against or self.audit_facts.compared.get((evidence.evaluator, evidence.inputs_digest), "")
        if against in ("0", BASE):
            return REGISTERED
        if against.isdecimal():
            return f"version {against}"
        return "weights from a file" if against == FILE else "the weights it was compared with"

    def periods(self, version: Version) -> Iterator[tuple[datetime, datetime | None]]:
        """Yield start and end of each period in which a version was live; the end is None while it is live."""
        moves = [move for move in self.history.moves if move.alias == LIVE]
        for move, following in zip(moves, [*moves[1:], None], strict=True):
            if move.version == version.number:
                yield move.moved_at, None if following is None else following.moved_at
