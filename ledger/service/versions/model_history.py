"""A model's history: what the ledger holds about its versions. Reads SQL only: no torch, no weights."""

from dataclasses import dataclass
from datetime import datetime

from ledger.domain.class_spaces import BasisTerm, ClassSpace
from ledger.domain.evidence import Evidence, WeightsEvidence
from ledger.domain.gate_policy import ModelGates
from ledger.domain.levels import EvidenceLevel
from ledger.domain.models import Model
from ledger.domain.versions import AliasMove, Version
from ledger.service.gates import gates_digest, gates_of
from ledger.service.ledger import Ledger


def list_models(ledger: Ledger) -> list[tuple[Model, Version]]:
    """Return every model with its live version, by name.

    Raises:
        AuditError: The entry of a live version, or one that concerns its model, is not as it was written.
        RowError: A model or its live version is not what the audit log says.
    """
    with ledger.database.read() as tx:
        for model in tx.models.all():
            tx.trusted.live(model.name)
        return [(model, tx.versions.live(model)) for model in tx.models.all()]


@dataclass(frozen=True)
class ModelHistory:
    """Everything the ledger holds about one model's versions."""

    model: Model
    versions: tuple[Version, ...]
    live: Version
    moves: tuple[AliasMove, ...]
    evidence: dict[int, dict[str, Evidence]]
    """What stands of each version's weights, by evaluator."""
    measured: dict[int, WeightsEvidence]
    """All evidence on each version's weights."""
    bases: dict[int, tuple[BasisTerm, ...]]
    spaces: tuple[ClassSpace, ...]
    gates: ModelGates
    """What new versions have to pass now."""
    gates_digest: str

    @property
    def levels(self) -> dict[int, EvidenceLevel]:
        """Level of the evidence on each version's weights."""
        return {number: one.level for number, one in self.measured.items()}

    def live_at(self, moment: datetime) -> int | None:
        """Return the version that was live at a moment, or None before the model was registered."""
        past = [move.version for move in self.moves if move.moved_at <= moment]
        return past[-1] if past else None


def read_model_history(ledger: Ledger, model_name: str) -> ModelHistory:
    """Return a model's versions and what belongs to them.

    Raises:
        NotFoundError: There is no such model.
        RowError: A row is not what the audit log says.
    """
    with ledger.database.read() as tx:
        tx.models.get(model_name)
        tx.trusted.model(model_name)
        tx.trusted.evidence(model_name)
        tx.trusted.class_spaces(model_name)
    return read_stored_history(ledger, model_name)


def read_stored_history(ledger: Ledger, model_name: str) -> ModelHistory:
    """Return what the rows say of a model, checked or not: for who says beside it what does not hold.

    Raises:
        NotFoundError: There is no such model.
    """
    with ledger.database.read() as tx:
        model = tx.models.get(model_name)
        versions, gates = tx.versions.all(model), gates_of(ledger, model)
        measured = {v.number: tx.versions.weights_evidence(v) for v in versions}
        return ModelHistory(
            model=model,
            versions=tuple(versions),
            live=tx.versions.live(model),
            moves=tuple(tx.versions.moves(model)),
            evidence={number: one.standing for number, one in measured.items()},
            measured=measured,
            bases={v.number: tuple(tx.versions.basis(v)) for v in versions},
            spaces=tuple(tx.class_spaces.all(model)),
            gates=gates,
            gates_digest=gates_digest(gates),
        )
