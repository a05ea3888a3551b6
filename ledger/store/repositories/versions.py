"""Versions, the alias that names the one in use, and the evidence on them: queries only."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ledger.domain.class_spaces import BasisTerm, Role
from ledger.domain.evidence import Evidence, WeightsEvidence
from ledger.domain.models import Model
from ledger.domain.versions import LIVE, AliasMove, Version
from ledger.errors import NotFoundError
from ledger.store.database.tables import AliasMoveRow, AliasRow, BasisTermRow, EvidenceRow, ModelRow, VersionRow

from . import convert


class Versions:
    """Versions, the alias that names the one in use, and the evidence on them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._aliases: dict[int, AliasRow] = {}
        """Which version of a model is live, where that was asked for: the session forgets what nobody holds."""

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
                recipe=version.recipe.to_json(),
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

    def next_number(self, model: Model) -> int:
        """Return the number that the model's next version gets."""
        return (
            self._session.scalar(select(func.max(VersionRow.number)).where(VersionRow.model_id == model.id)) or 0
        ) + 1

    def quarantine(self, version: Version, problem: str | None) -> None:
        """Note what is wrong with a version's weights, or that nothing is any more."""
        self._session.get_one(VersionRow, (version.model_id, version.number)).quarantined = problem
        self._session.flush()

    def note_purged(self, version: Version, *, at: datetime) -> None:
        """Note that a version's weights are to be destroyed: from now on nobody gets them."""
        self._session.get_one(VersionRow, (version.model_id, version.number)).purged_at = at
        self._session.flush()

    def live(self, model: Model) -> Version:
        """Return the version that the ``live`` alias names."""
        row = self._aliases[model.id] = self._session.get_one(AliasRow, (model.id, LIVE))
        return self.get(model, row.version)

    def all_live(self) -> dict[int, tuple[int, frozenset[int]]]:
        """Return number and forgotten classes of the live version of every model, by the model's id."""
        live = (AliasRow.model_id == VersionRow.model_id) & (AliasRow.version == VersionRow.number)
        query = select(VersionRow.model_id, VersionRow.number, VersionRow.forgotten).join(AliasRow, live)
        rows = self._session.execute(query.where(AliasRow.name == LIVE))
        return dict(convert.live_version(*row) for row in rows)

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
                provenance=evidence.provenance.to_json(),
            )
        )

    def evidence(self, version: Version) -> dict[str, Evidence]:
        """Return what stands of a version's weights: see :attr:`WeightsEvidence.standing`."""
        return self.weights_evidence(version).standing

    def weights_evidence(self, version: Version) -> WeightsEvidence:
        """Return all evidence on a version's weights, measured on this version or on another with the same bytes.

        Evidence belongs to weights and to the classes that they should have forgotten. Earlier releases recorded
        whatever an evaluator returned; what is not a mapping tells nothing and is left out.
        """
        query = (
            select(EvidenceRow, VersionRow.forgotten)
            .join(
                VersionRow, (VersionRow.model_id == EvidenceRow.model_id) & (VersionRow.number == EvidenceRow.version)
            )
            .where(EvidenceRow.model_id == version.model_id, VersionRow.weights == version.weights)
            .order_by(EvidenceRow.id)
        )
        anchor = self._session.get_one(ModelRow, version.model_id).anchor
        return WeightsEvidence(
            tuple(
                convert.evidence(row)
                for row, forgotten in self._session.execute(query)
                if isinstance(row.metrics, dict) and forgotten == sorted(version.forgotten)
            ),
            anchor,
        )
