"""The models of a ledger, and what can be asked of each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.desk.asked import FiledRequest
from ledger.desk.desk import Desk
from ledger.documents.document import Document
from ledger.domain.levels import EvidenceLevel
from ledger.errors import NotFoundError, UsageError
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.shown_tables import ShownAsTable, ShownTable

from .results import (
    CarriedOut,
    Foretold,
    IssuedCertificate,
    KeptRequest,
    KeptVersion,
    RecordedEvidence,
    RolledBack,
    listed_requests,
    listed_versions,
)
from .values import Listing
from .working import work_off

if TYPE_CHECKING:
    from torch import Tensor

    from ledger.domain.settings import Settings

Here = Callable[[str], Ledger]
"""Returns the ledger, for what takes images and weights; raises an error where a server has them."""
Named = str | int
"""A class: its label, or the index of its output."""


class RegisteredModel(ShownAsTable):
    """One model of a ledger. What it says of itself is asked anew each time.

    Args:
        name: What it is called.
        desk: Answers.
        here: The ledger, for what takes images and weights.
        progress: Follows long work.
    """

    def __init__(self, name: str, desk: Desk, here: Here, progress: Progress) -> None:
        self.name = name
        self._desk = desk
        self._here = here
        self._progress = progress

    def __repr__(self) -> str:
        return f"<model {self.name}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its classes, in the order of its outputs."""
        return tuple(self._desk.models.labels(self.name))

    @property
    def document(self) -> Document:
        """Everything that is known of it, as ``unledger model show --json`` prints it."""
        return self._desk.models.show(self.name)

    @property
    def versions(self) -> Listing[KeptVersion]:
        """Its versions, oldest first."""
        return listed_versions(self._desk.versions.all(self.name)["items"])

    @property
    def live(self) -> KeptVersion:
        """The version that is live."""
        return next(version for version in self.versions if version.live)

    @property
    def requests(self) -> Listing[KeptRequest]:
        """The requests that were filed of it, in order."""
        return listed_requests(self._desk.requests.all(self.name)["items"])

    def preview(self, classes: Sequence[Named]) -> Foretold:
        """Measure what forgetting some classes would cost; nothing is filed.

        Raises:
            UnknownClassError: A class is not the model's.
            TooFewRetainedError: Too few classes would be left.
            UsageError: The ledger is a server's: there, previews are asked for at its pages.
        """
        ledger = self._here("a preview")
        from ledger.documents.requests import preview_document
        from ledger.service.requests.preview import preview

        return Foretold.of(preview_document(preview(ledger, self.name, _texts(classes), self._progress)))

    def forget(
        self,
        classes: Sequence[Named],
        *,
        reason: str = "",
        basis: str = "",
        received_at: datetime | None = None,
        due_at: datetime | None = None,
        external_id: str = "",
        idempotency_key: str | None = None,
        preview: Foretold | None = None,
        needs_approval: bool = False,
    ) -> KeptRequest:
        """File a request to forget some classes; :meth:`work`, or a worker, carries it out.

        Args:
            classes: Labels, or indices of outputs.
            reason: Why.
            basis: Legal basis or ground, e.g. ``gdpr-17``.
            received_at: When it was received; now if not given.
            due_at: When it is due; one month after receipt if not given.
            external_id: Its number in another system.
            idempotency_key: The same key files it once, however often it is sent.
            preview: What it is bound to; the outcome is compared with it.
            needs_approval: Whether a person must approve.

        Raises:
            UnknownClassError: A class is not the model's.
            TooFewRetainedError: Too few classes would be left.
            IdempotencyConflictError: The key was used before, for something else.
            ConflictError: The model changed since the preview was made.
        """
        filed = FiledRequest(
            classes=_texts(classes),
            reason=reason,
            basis=basis,
            external_id=external_id,
            received_at=received_at,
            due_at=due_at,
            idempotency_key=idempotency_key,
            preview=None if preview is None else preview.document,
        )
        receipts = self._desk.requests.file(self.name, [filed], needs_approval=needs_approval)
        return KeptRequest.of(receipts["items"][0])

    def work(self) -> Listing[CarriedOut]:
        """Carry out the requests of this model that wait, here and now; see :meth:`OpenedLedger.work`."""
        return work_off(self._here("carrying out requests"), self._progress, self.name)

    def evaluate(
        self,
        version: int | None = None,
        *,
        level: int | None = None,
        only: Sequence[str] = (),
        train_per_class: int | None = 200,
        time_limit: float | None = None,
    ) -> RecordedEvidence:
        """Measure a version and record the evidence.

        Args:
            version: Its number; None for the live one.
            level: Level of evidence to reach: 1 outputs, 2 membership, 3 features.
            only: Only these evaluators, by name.
            train_per_class: Training images of each class to measure; None for all.
            time_limit: Seconds that one evaluator may take.

        Raises:
            NotFoundError: There is no such version.
            UsageError: There is no such evaluator or level, or the ledger is a server's.
            PluginError: An evaluator failed; nothing is recorded then.
        """
        ledger = self._here("measuring a version")
        from ledger.documents.models import evaluation_document
        from ledger.service.evidence.evaluation import evaluate

        result = evaluate(
            ledger,
            self.name,
            version,
            self._progress,
            only=tuple(only),
            level=None if level is None else _level(level),
            train_per_class=train_per_class,
            time_limit=time_limit,
        )
        return RecordedEvidence.of(evaluation_document(result), "evidence")

    def evidence(self, version: int | None = None) -> RecordedEvidence:
        """Return what was measured on a version so far; None asks about the live one.

        Raises:
            NotFoundError: There is no such version.
        """
        return RecordedEvidence.of(self._desk.versions.evidence(self.name, version), "items")

    def rollback(self, to: int, *, reason: str = "") -> RolledBack:
        """Make an earlier version's weights live again, as a new version; what that undoes is reopened.

        Raises:
            NotFoundError: There is no such version.
            ConflictError: It is live already, or has the same weights.
            PurgedError: Its weights were destroyed.
            ObjectError: Its bytes are missing or altered.
        """
        plan = self._desk.versions.plan_rollback(self.name, to)
        return RolledBack.of(self._desk.versions.roll_back(self.name, to, plan["confirmation"], reason))

    def certificate(self, request: int, *, live: bool = False) -> IssuedCertificate:
        """Certify how a fulfilled request was carried out.

        Args:
            request: Its number.
            live: Certify the live version, in the place of the one that first fulfilled the request.

        Raises:
            NotFoundError: There is no such request of this model, or the signing key is missing.
            ConflictError: It is not fulfilled, no longer stands, or its version is damaged.
        """
        if self._desk.requests.show(request)["model"] != self.name:
            raise NotFoundError(f"{self.name} has no request {request}", "see its requests")
        issued = self._desk.certificates.issue(request, live=live)
        return IssuedCertificate.of(issued, self._desk.certificates.file(issued["id"]))

    def weights(self, version: int | None = None) -> "dict[str, Tensor]":
        """Return a version's weights by name, verified against what is recorded; None for the live one.

        Raises:
            NotFoundError: There is no such version.
            PurgedError: They were destroyed.
            ObjectError: They are missing or altered.
            UsageError: The ledger is a server's.
        """
        ledger = self._here("reading weights")
        from ledger.service.computation.version_weights import version_weights

        return version_weights(ledger, self.name, version)

    def export(self, folder: str | Path, version: int | None = None) -> KeptVersion:
        """Write a version as a folder with weights, labels, preprocessing and model card; None for the live one.

        Raises:
            ConflictError: The folder is there and not empty.
            UsageError: The ledger is a server's.
        """
        ledger = self._here("exporting weights")
        from ledger.service.versions.export import export

        number = export(ledger, self.name, version, Path(folder)).number
        return next(one for one in self.versions if one.number == number)

    def table(self) -> ShownTable:
        """Return its versions."""
        found = self.versions.table()
        return ShownTable(found.columns, found.rows, self.name)


class RegisteredModels(ShownAsTable, Mapping[str, RegisteredModel]):
    """The models of a ledger, by name.

    Args:
        desk: Answers.
        here: The ledger, for what takes images and weights.
        progress: Follows long work.
    """

    def __init__(self, desk: Desk, here: Here, progress: Progress) -> None:
        self._desk = desk
        self._here = here
        self._progress = progress

    def __getitem__(self, name: str) -> RegisteredModel:
        """Return a model.

        Raises:
            KeyError: There is none of this name.
        """
        if name not in self._names():
            raise KeyError(name)
        return RegisteredModel(name, self._desk, self._here, self._progress)

    def __iter__(self) -> Iterator[str]:
        """Yield their names, sorted."""
        return iter(self._names())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._names())

    def __repr__(self) -> str:
        return f"<models: {', '.join(self._names()) or 'none'}>"

    def add(
        self,
        name: str,
        *,
        arch: str,
        weights: str | Path,
        data: str,
        labels: Sequence[str] | None = None,
        arch_options: Mapping[str, Any] | None = None,
        preprocessing: Mapping[str, Any] | None = None,
        settings: "Settings | None" = None,
        allow_unhandled: Sequence[str] = (),
    ) -> RegisteredModel:
        """Register a trained model; its weights are kept as version 0.

        Args:
            name: What to call it.
            arch: Its architecture, as ``unledger model add --arch`` takes it: ``timm/ARCH``, ``pkg.mod:factory``, ...
            weights: A safetensors file.
            data: Its images, as ``--data`` takes them: ``digits``, ``folder:PATH``, ...
            labels: Class labels in output order; those of the data if not given.
            arch_options: Arguments of the architecture.
            preprocessing: Fields of :class:`~ledger.domain.settings.Preprocessing` that differ from what the
                architecture expects: ``channels``, ``height``, ``width``, ``mean``, ``std``, ...
            settings: Of the unlearning; fixed from now on.
            allow_unhandled: Names of weights that may never be edited.

        Raises:
            LedgerError: As :func:`ledger.service.models.registration.register` raises; UsageError where the ledger is
                a server's.
        """
        ledger = self._here("registering a model")
        from ledger.domain.models import Architecture
        from ledger.domain.settings import Settings
        from ledger.service.models.absolute_specs import absolute_spec
        from ledger.service.models.registration import Registration, register

        register(
            ledger,
            Registration(
                name=name,
                architecture=Architecture(absolute_spec(arch), dict(arch_options or {})),
                weights=Path(weights),
                data_spec=absolute_spec(data),
                labels=None if labels is None else tuple(labels),
                preprocessing=dict(preprocessing or {}),
                settings=settings or Settings(),
                allow_unhandled=frozenset(allow_unhandled),
            ),
            self._progress,
        )
        return self[name]

    def table(self) -> ShownTable:
        """Return a row for each."""
        columns = ("name", "live", "forgotten", "architecture", "data", "classes")
        return ShownTable(
            columns,
            [
                (one["name"], one["live"], one["forgotten"], one["architecture"], one["data"], len(one["labels"]))
                for one in self._desk.models.all()["items"]
            ],
        )

    def _names(self) -> list[str]:
        return [one["name"] for one in self._desk.models.all()["items"]]


def _texts(classes: Sequence[Named]) -> tuple[str, ...]:
    """Return classes as the desk takes them; a single text is one class, not the letters of it."""
    named = (classes,) if isinstance(classes, str | int) else classes
    return tuple(f"index:{one}" if isinstance(one, int) else one for one in named)


def _level(number: int) -> EvidenceLevel:
    if number not in range(EvidenceLevel.OUTPUTS, EvidenceLevel.RETRAINED):
        raise UsageError(
            f"level {number} cannot be reached by measuring one version",
            "1 outputs, 2 membership, 3 features; level 4 compares with a retrained network: unledger evaluate --help",
        )
    return EvidenceLevel(number)
