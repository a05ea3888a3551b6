"""What is answered: frozen values, read from the documents that every face gets.

The schemas of the documents are in ``docs/json.md``; ``document`` holds everything that a value leaves out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ledger.documents.document import Document
from ledger.shown_tables import ShownAsTable, ShownTable

from .values import Listing, Row, moment

Whole = field(repr=False, compare=False, kw_only=True)


@dataclass(frozen=True)
class KeptRequest(Row):
    """A request to forget, as it stands."""

    id: int
    model: str
    classes: tuple[str, ...]
    state: str
    due_at: datetime | None
    days_left: int | None
    version: int | None
    """The version that fulfils it."""
    outcome: str
    document: Document = Whole

    @classmethod
    def of(cls, found: Document) -> "KeptRequest":
        """Read it from a document."""
        return cls(
            id=found["id"],
            model=found["model"],
            classes=tuple(found["classes"]),
            state=found["state"],
            due_at=moment(found["due_at"]),
            days_left=found["days_left"],
            version=found["version"],
            outcome=found["outcome"],
            document=found,
        )


@dataclass(frozen=True)
class KeptVersion(Row):
    """A version of a model."""

    model: str
    number: int
    kind: str
    """Why it was made: ``base``, ``forget``, ``withdraw`` or ``rollback``."""
    live: bool
    forgotten: tuple[str, ...]
    level: int | None
    """Level of evidence on its weights; None where that was not asked for."""
    retained_accuracy: float | None
    """On test images; None if it was not measured."""
    forgotten_accuracy: float | None
    """The same on the forgotten classes."""
    created_at: datetime | None
    weights: str
    """SHA-256 of the weights file."""
    document: Document = Whole

    @classmethod
    def of(cls, found: Document) -> "KeptVersion":
        """Read it from a document."""
        accuracy = found.get("test_accuracy") or {}
        return cls(
            model=found["model"],
            number=found["version"],
            kind=found["kind"],
            live=found["live"],
            forgotten=tuple(found["forgotten"]),
            level=found.get("level"),
            retained_accuracy=accuracy.get("retained"),
            forgotten_accuracy=accuracy.get("forgotten"),
            created_at=moment(found["created_at"]),
            weights=found["weights"],
            document=found,
        )


@dataclass(frozen=True)
class CarriedOut(Row):
    """What became of a request that was carried out here."""

    request: int
    model: str
    classes: tuple[str, ...]
    state: str
    version: int | None
    level: int | None
    """Level of evidence that was measured of the new version."""
    retained_accuracy: float | None
    masked_original: float | None
    """What the retained accuracy has to be compared with: the network before, not allowed to answer the classes."""
    forgotten_accuracy: float | None
    error: str
    """Why it failed; empty if it did not."""
    document: Document = Whole

    @classmethod
    def of(cls, found: Document) -> "CarriedOut":
        """Read it from a document."""
        request, measured = found["request"], found["measured"] or {}
        retained = measured.get("retained") or {}
        return cls(
            request=request["id"],
            model=request["model"],
            classes=tuple(request["classes"]),
            state=request["state"],
            version=None if found["version"] is None else found["version"]["version"],
            level=measured.get("level"),
            retained_accuracy=retained.get("after"),
            masked_original=retained.get("masked_original"),
            forgotten_accuracy=measured.get("forgotten_accuracy"),
            error="" if found["error"] is None else found["error"]["message"],
            document=found,
        )


@dataclass(frozen=True)
class MeasuredFigure(Row):
    """One number that an evaluator measured."""

    evaluator: str
    metric: str
    value: float | int | str | bool | None


@dataclass(frozen=True)
class RecordedEvidence(ShownAsTable):
    """What was measured on a version."""

    model: str
    version: int
    level: int
    """The level of evidence that all of it reaches together."""
    not_tested: Mapping[str, tuple[str, ...]]
    """Of each higher level, the evaluators that are missing."""
    figures: Listing[MeasuredFigure]
    document: Document = Whole

    @classmethod
    def of(cls, found: Document, items: str) -> "RecordedEvidence":
        """Read it from a document.

        Args:
            found: The document.
            items: What the measurements are called in it.
        """
        return cls(
            model=found["model"],
            version=found["version"],
            level=found["level"],
            not_tested={title: tuple(missing) for title, missing in found["not_tested"].items()},
            figures=Listing(tuple(f for one in found[items] for f in _figures(one["evaluator"], one["metrics"]))),
            document=found,
        )

    def metrics(self, evaluator: str) -> dict[str, Any]:
        """Return the figures of one evaluator by name; none if it measured nothing."""
        return {f.metric: f.value for f in self.figures if f.evaluator == evaluator}

    def table(self) -> ShownTable:
        """Return every figure."""
        found = self.figures.table()
        return ShownTable(found.columns, found.rows, f"{self.model}:{self.version}, evidence of level {self.level}")


@dataclass(frozen=True)
class Foretold(ShownAsTable):
    """What forgetting some classes would cost, on test images. Nothing was filed."""

    model: str
    forgotten: tuple[str, ...]
    """Everything that would be forgotten, what is forgotten already included."""
    retained_accuracy: float | None
    masked_original: float | None
    missed_gates: tuple[str, ...]
    solver: str
    depth: int
    document: Document = Whole

    @classmethod
    def of(cls, found: Document) -> "Foretold":
        """Read it from a document."""
        return cls(
            model=found["model"],
            forgotten=tuple(found["forgotten"]),
            retained_accuracy=found["retained"]["after"],
            masked_original=found["retained"]["masked_original"],
            missed_gates=tuple(found["missed_gates"]),
            solver=found["solver"],
            depth=found["depth"],
            document=found,
        )

    def table(self) -> ShownTable:
        """Return a row for each class, the forgotten ones first, then those that lose most."""
        names = ("class", "forget", "images", "original", "masked", "foretold", "lost")
        return ShownTable(names, [[one[name] for name in names] for one in self.document["classes"]])


@dataclass(frozen=True)
class RolledBack(Row):
    """A rollback that was carried out."""

    model: str
    to: int
    """The version whose weights are live again."""
    version: int
    """The new version that holds them."""
    known_again: tuple[str, ...]
    reopened: tuple[int, ...]
    """Numbers of the requests that are open again."""
    document: Document = Whole

    @classmethod
    def of(cls, found: Document) -> "RolledBack":
        """Read it from a document."""
        return cls(
            model=found["model"],
            to=found["to"],
            version=found["version"],
            known_again=tuple(found["known_again"]),
            reopened=tuple(one["id"] for one in found["reopened"]),
            document=found,
        )


@dataclass(frozen=True)
class IssuedCertificate(Row):
    """A certificate that was issued: write ``file`` to wherever its recipient can get it."""

    number: int
    request: int
    model: str
    file: bytes = field(repr=False)
    """What others verify, offline, with ``unledger certificate verify`` or with the verifier alone."""
    document: Document = Whole

    @classmethod
    def of(cls, found: Document, file: bytes) -> "IssuedCertificate":
        """Read it from a document, and from its file."""
        return cls(found["id"], found["request"], found["model"], file, document=found)


def listed_requests(found: Iterable[Document]) -> Listing[KeptRequest]:
    """Return requests in the order of their documents."""
    return Listing(tuple(map(KeptRequest.of, found)))


def listed_versions(found: Iterable[Document]) -> Listing[KeptVersion]:
    """Return versions in the order of their documents."""
    return Listing(tuple(map(KeptVersion.of, found)))


def _figures(evaluator: str, metrics: Mapping[str, Any], prefix: str = "") -> Iterable[MeasuredFigure]:
    """Yield every single number of nested metrics; lists are left to the document."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _figures(evaluator, value, f"{prefix}{name}.")
        elif not isinstance(value, list | tuple):
            yield MeasuredFigure(evaluator, f"{prefix}{name}", value)
