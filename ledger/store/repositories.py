"""Queries, by aggregate. Each repository works inside one transaction and returns domain values."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ledger.domain.records import (
    LIVE,
    AliasMove,
    BasisTerm,
    ClassSpace,
    Evidence,
    Model,
    Request,
    Role,
    Version,
)
from ledger.domain.states import Action, RequestState, next_state
from ledger.errors import ConflictError, NotFoundError, RetryLaterError

from . import convert
from .engine import database_time
from .tables import (
    AliasMoveRow,
    AliasRow,
    BasisTermRow,
    BlobRow,
    ClassSpaceRow,
    EvidenceRow,
    ModelRow,
    RequestRow,
    VersionRow,
)


class Models:
    """Registered models."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, model: Model) -> Model:
        """Insert a model; its id is assigned here.

        Raises:
            ConflictError: The name is taken.
        """
        if self._session.scalar(select(ModelRow.id).where(ModelRow.name == model.name)) is not None:
            raise ConflictError(f"there is already a model called {model.name!r}", "choose another name")
        row = ModelRow(
            name=model.name,
            architecture=model.architecture.spec,
            options=model.architecture.options,
            labels=list(model.labels.labels),
            preprocessing=vars(model.preprocessing),
            data_spec=model.data_spec,
            data_digest=model.data_digest,
            settings=model.settings.to_json(),
            created_at=model.created_at,
        )
        self._session.add(row)
        self._session.flush()
        return convert.model(row)

    def get(self, name: str) -> Model:
        """Return a model by name.

        Raises:
            NotFoundError: There is none.
        """
        row = self._session.scalar(select(ModelRow).where(ModelRow.name == name))
        if row is None:
            names = [model.name for model in self.all()]
            raise NotFoundError(
                f"there is no model called {name!r}",
                f"models: {', '.join(names)}" if names else "register one: unledger model add",
            )
        return convert.model(row)

    def by_id(self, model_id: int) -> Model:
        """Return a model by id."""
        return convert.model(self._session.get_one(ModelRow, model_id))

    def all(self) -> list[Model]:
        """Return every model, by name."""
        return [convert.model(row) for row in self._session.scalars(select(ModelRow).order_by(ModelRow.name))]


class Versions:
    """Versions, the alias that names the one in use, and the evidence on them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, version: Version, terms: Collection[BasisTerm] = ()) -> None:
        """Insert a version with the class spaces that make up its bases."""
        self._session.add(
            VersionRow(
                model_id=version.model_id,
                number=version.number,
                parent=version.parent,
                kind=version.kind.value,
                request_id=version.request_id,
                restores=version.restores,
                forgotten=sorted(version.forgotten),
                weights=version.weights,
                recipe=version.recipe,
                created_at=version.created_at,
            )
        )
        self._session.flush()
        for term in terms:
            self._session.add(
                BasisTermRow(
                    model_id=version.model_id,
                    version=version.number,
                    role=term.role.value,
                    class_index=term.class_index,
                    class_space_id=term.class_space_id,
                )
            )
        self._session.flush()

    def get(self, model: Model, number: int) -> Version:
        """Return one version.

        Raises:
            NotFoundError: The model has no such version.
        """
        row = self._session.get(VersionRow, (model.id, number))
        if row is None:
            raise NotFoundError(f"{model.name} has no version {number}", f"see: unledger model versions {model.name}")
        return convert.version(row)

    def all(self, model: Model) -> list[Version]:
        """Return a model's versions, oldest first."""
        query = select(VersionRow).where(VersionRow.model_id == model.id).order_by(VersionRow.number)
        return [convert.version(row) for row in self._session.scalars(query)]

    def live(self, model: Model) -> Version:
        """Return the version that the ``live`` alias names."""
        row = self._session.get_one(AliasRow, (model.id, LIVE))
        return self.get(model, row.version)

    def move_live(self, model: Model, number: int, *, at: datetime, audit_seq: int) -> None:
        """Point the ``live`` alias at a version and record the move."""
        row = self._session.get(AliasRow, (model.id, LIVE))
        previous = None if row is None else row.version
        if row is None:
            self._session.add(AliasRow(model_id=model.id, name=LIVE, version=number))
        else:
            row.version = number
        self._session.add(
            AliasMoveRow(
                model_id=model.id, name=LIVE, version=number, previous=previous, moved_at=at, audit_seq=audit_seq
            )
        )
        self._session.flush()

    def moves(self, model: Model) -> list[AliasMove]:
        """Return every move of the model's aliases, oldest first."""
        query = select(AliasMoveRow).where(AliasMoveRow.model_id == model.id).order_by(AliasMoveRow.id)
        return [convert.alias_move(row) for row in self._session.scalars(query)]

    def basis(self, version: Version) -> list[BasisTerm]:
        """Return the class spaces that make up a version's bases, in class order within each role."""
        query = (
            select(BasisTermRow)
            .where(BasisTermRow.model_id == version.model_id, BasisTermRow.version == version.number)
            .order_by(BasisTermRow.role, BasisTermRow.class_index)
        )
        return [BasisTerm(Role(row.role), row.class_index, row.class_space_id) for row in self._session.scalars(query)]

    def add_evidence(self, version: Version, evidence: Evidence) -> None:
        """Insert what an evaluator measured."""
        self._session.add(
            EvidenceRow(
                model_id=version.model_id,
                version=version.number,
                evaluator=evidence.evaluator,
                plugin=evidence.plugin,
                plugin_version=evidence.plugin_version,
                metrics=evidence.metrics,
                samples=evidence.samples,
                inputs_digest=evidence.inputs_digest,
                created_at=evidence.created_at,
            )
        )

    def evidence(self, version: Version) -> dict[str, Evidence]:
        """Return the newest evidence on a version, by evaluator."""
        query = (
            select(EvidenceRow)
            .where(EvidenceRow.model_id == version.model_id, EvidenceRow.version == version.number)
            .order_by(EvidenceRow.id)
        )
        return {row.evaluator: convert.evidence(row) for row in self._session.scalars(query)}


@dataclass(frozen=True)
class Claim:
    """A worker's right to carry out a request, for as long as its lease lasts."""

    request: Request
    owner: str
    epoch: int


class Requests:
    """Requests, which are also the work queue."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, values: dict[str, Any]) -> Request:
        """Insert a request; it gets the next number. The caller holds the write lock."""
        number = (self._session.scalar(select(func.max(RequestRow.id))) or 0) + 1
        row = RequestRow(id=number, **values)
        self._session.add(row)
        self._session.flush()
        return convert.request(row)

    def get(self, request_id: int) -> Request:
        """Return a request.

        Raises:
            NotFoundError: There is none with this number.
        """
        return convert.request(self._row(request_id))

    def by_key(self, key: str) -> tuple[Request, str] | None:
        """Return the request filed under an idempotency key, with the digest of its body."""
        row = self._session.scalar(select(RequestRow).where(RequestRow.idempotency_key == key))
        return None if row is None else (convert.request(row), row.body_digest)

    def all(self, model: Model | None = None, states: Collection[RequestState] | None = None) -> list[Request]:
        """Return requests in the order they were filed."""
        query = select(RequestRow).order_by(RequestRow.id)
        if model is not None:
            query = query.where(RequestRow.model_id == model.id)
        if states is not None:
            query = query.where(RequestRow.state.in_([state.value for state in states]))
        return [convert.request(row) for row in self._session.scalars(query)]

    def act(self, request_id: int, action: Action, *, at: datetime, **changes: Any) -> Request:
        """Move a request along the transition table, and set other columns with it.

        Raises:
            TransitionError: The action is not allowed from the request's state.
        """
        row = self._row(request_id)
        row.state = next_state(RequestState(row.state), action, request_id=request_id).value
        row.updated_at = at
        for name, value in changes.items():
            setattr(row, name, value)
        self._session.flush()
        return convert.request(row)

    def claimable(self, model: Model | None) -> list[Request]:
        """Return what a worker may claim now, oldest first: one request at most for each model.

        A model whose request is being carried out under a live lease offers none; a request whose
        lease has expired is offered before the queued ones.
        """
        now = select(database_time()).scalar_subquery()
        leased = (
            select(RequestRow.model_id)
            .where(RequestRow.state == RequestState.RUNNING.value, RequestRow.lease_expires > now)
            .scalar_subquery()
        )
        query = (
            select(RequestRow)
            .where(
                RequestRow.state.in_([RequestState.QUEUED.value, RequestState.RUNNING.value]),
                RequestRow.model_id.not_in(leased),
            )
            .order_by(RequestRow.state.desc(), RequestRow.id)
        )
        if model is not None:
            query = query.where(RequestRow.model_id == model.id)
        first: dict[int, Request] = {}
        for row in self._session.scalars(query):
            first.setdefault(row.model_id, convert.request(row))
        return sorted(first.values(), key=lambda request: request.id)

    def claim(self, request: Request, *, owner: str, ttl: float, at: datetime) -> Claim:
        """Take a claimable request: its lease epoch rises, so that any earlier claim is void.

        Raises:
            RetryLaterError: Somebody else holds it.
        """
        # The row decides, not what the caller saw: another worker may have been here since.
        row = self._row(request.id)
        if row.state == RequestState.RUNNING.value and (row.lease_expires or 0.0) > self._now():
            raise RetryLaterError(f"request {row.id} is carried out by another worker", "nothing was written")
        epoch = row.lease_epoch + 1
        claimed = self.act(
            request.id,
            Action.CLAIM,
            at=at,
            lease_owner=owner,
            lease_epoch=epoch,
            lease_expires=self._now() + ttl,
            attempts=row.attempts + 1,
        )
        return Claim(claimed, owner, epoch)

    def extend(self, claim: Claim, *, ttl: float) -> None:
        """Prolong a lease that is still held.

        Raises:
            RetryLaterError: The lease was lost.
        """
        self._held(claim).lease_expires = self._now() + ttl
        self._session.flush()

    def finish(self, claim: Claim, action: Action, *, at: datetime, **changes: Any) -> Request:
        """End a claim: checks state, owner, epoch and expiry in the transaction that records the result.

        Raises:
            RetryLaterError: The lease was lost; nothing may be written.
        """
        self._held(claim)
        return self.act(claim.request.id, action, at=at, lease_owner=None, lease_expires=None, **changes)

    def _held(self, claim: Claim) -> RequestRow:
        row = self._row(claim.request.id)
        held = (
            row.state == RequestState.RUNNING.value
            and row.lease_owner == claim.owner
            and row.lease_epoch == claim.epoch
            and row.lease_expires is not None
            and row.lease_expires > self._now()
        )
        if not held:
            raise RetryLaterError(
                f"the lease on request {row.id} was lost", "another worker carries it out; nothing was written"
            )
        return row

    def _now(self) -> float:
        return float(self._session.scalar(select(database_time())) or 0.0)

    def _row(self, request_id: int) -> RequestRow:
        row = self._session.get(RequestRow, request_id, populate_existing=True)
        if row is None:
            raise NotFoundError(f"there is no request {request_id}", "see: unledger request list")
        return row


class ClassSpaces:
    """Collected class spaces, and the blobs that things refer to."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def find(self, model: Model, class_index: int, spec_digest: str) -> ClassSpace | None:
        """Return the class space collected to this specification, if there is one."""
        query = select(ClassSpaceRow).where(
            ClassSpaceRow.model_id == model.id,
            ClassSpaceRow.class_index == class_index,
            ClassSpaceRow.spec_digest == spec_digest,
        )
        row = self._session.scalar(query)
        return None if row is None else self._convert(row)

    def all(self, model: Model) -> list[ClassSpace]:
        """Return every class space of a model."""
        query = select(ClassSpaceRow).where(ClassSpaceRow.model_id == model.id).order_by(ClassSpaceRow.id)
        return [self._convert(row) for row in self._session.scalars(query)]

    def add(self, space: ClassSpace) -> ClassSpace:
        """Insert a class space; its id is assigned here. One collected meanwhile by somebody else is kept."""
        existing = self._session.scalar(
            select(ClassSpaceRow).where(
                ClassSpaceRow.model_id == space.model_id,
                ClassSpaceRow.class_index == space.class_index,
                ClassSpaceRow.spec_digest == space.spec_digest,
            )
        )
        if existing is not None:
            return self._convert(existing)
        row = ClassSpaceRow(
            model_id=space.model_id,
            class_index=space.class_index,
            spec_digest=space.spec_digest,
            samples=list(space.samples),
            samples_digest=space.samples_digest,
            blob=space.blob,
            maps=convert.map_summaries(space),
            created_at=space.created_at,
        )
        self._session.add(row)
        self._session.flush()
        return self._convert(row)

    def add_blob(self, digest: str, size: int, kind: str, *, at: datetime) -> None:
        """Note that a stored object is referred to."""
        if self._session.get(BlobRow, digest) is None:
            self._session.add(BlobRow(digest=digest, size=size, kind=kind, created_at=at))
            self._session.flush()

    def blobs(self) -> list[tuple[str, int, str]]:
        """Return digest, size and kind of every referred object."""
        return [(row.digest, row.size, row.kind) for row in self._session.scalars(select(BlobRow))]

    def _convert(self, row: ClassSpaceRow) -> ClassSpace:
        return convert.class_space(row, self._session.get_one(BlobRow, row.blob).size)
