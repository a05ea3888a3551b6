"""The gates that hold for a model: what ``unledger.toml`` asks for now, and what was fixed at registration."""

from ledger.digest import json_digest
from ledger.domain.gate_policy import ModelGates
from ledger.domain.models import Model

from .ledger import Ledger


def gates_of(ledger: Ledger, model: Model) -> ModelGates:
    """Return the gates that new versions of a model have to pass."""
    settings = model.settings
    return ModelGates(ledger.config.gates.of(model.name), settings.max_forgotten_accuracy, settings.max_retained_drop)


def gates_digest(gates: ModelGates) -> str:
    """Return the SHA-256 of the canonical JSON of gates: what entries of the audit log and certificates show."""
    return json_digest(gates.to_json())


def sections_of_no_model(ledger: Ledger) -> tuple[str, ...]:
    """Return the names in ``[gates.models.NAME]`` that no model has: what stands there holds for nothing."""
    with ledger.database.read() as tx:
        names = set(tx.models.names().values())
    return tuple(name for name in ledger.config.gates.models if name not in names)
