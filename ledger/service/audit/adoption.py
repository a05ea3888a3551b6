"""Bind to the audit log what earlier releases stored without a digest in any entry.

Until then nobody can tell whether such a row was changed. So no work, signature or export rests on it before a person
has looked at it and says, on record, that it is what it should be.
"""

from dataclasses import dataclass

from ledger.audit.row_digests import idempotency_digest, row_digest
from ledger.domain.events.models import ModelAdopted
from ledger.domain.models import Model
from ledger.service.guard import require_own_keys
from ledger.service.ledger import Ledger
from ledger.store.unit_of_work import Transaction


@dataclass(frozen=True)
class Adoption:
    """What was bound to the log, or would be."""

    model: str
    rows: tuple[str, ...]
    """The rows that no entry covered whole, each as ``TABLE KEY``."""


def plan_adoption(ledger: Ledger, model_name: str) -> Adoption:
    """Return the rows of a model that no entry of the log covers whole.

    Raises:
        NotFoundError: There is no such model.
        AuditError: The log does not verify.
        RowError: A row is not what the log says, as far as it says something.
    """
    with ledger.database.read() as tx:
        return _plan(tx, tx.models.get(model_name))


def adopt(ledger: Ledger, plan: Adoption, reason: str) -> Adoption:
    """Bind a model's rows to the log as they are now.

    Args:
        ledger: The ledger.
        plan: What a person has seen.
        reason: Why the rows are believed, kept as a note beside the log.

    Raises:
        KeysError: The keys are missing, or another ledger's.
        AuditError: The log does not verify.
        RowError: A row is not what the log says, as far as it says something.
    """
    # In an older database too: a recovery needs rows that are bound.
    with ledger.database.write(guarded=False) as tx:
        require_own_keys(tx.audit, ledger.config)
        model = tx.models.get(plan.model)
        current = _plan(tx, model)
        if current.rows:
            tx.models.ensure_salt(model)
            now = ledger.clock()
            tx.audit.append(_event(tx, model), at=now, actor=ledger.actor, model=model.name, note=reason)
    return current


def _plan(tx: Transaction, model: Model) -> Adoption:
    for check in (tx.trusted.model, tx.trusted.requests, tx.trusted.class_spaces, tx.trusted.evidence):
        check(model.name)
    unbound = tx.trusted.unbound(model.name)
    return Adoption(model.name, tuple(f"{table} {'/'.join(str(part) for part in key)}" for table, key in unbound))


def _event(tx: Transaction, model: Model) -> ModelAdopted:
    spaces = tx.projections.rows("class_spaces", model_id=model.name)
    measured: dict[int, list[str]] = {}
    for row in tx.projections.rows("evidence", model_id=model.name):
        measured.setdefault(row["version"], []).append(row_digest("evidence", row))
    unbound = {key[0] for table, key in tx.trusted.unbound(model.name) if table == "requests"}
    requests = tx.projections.rows("requests", model_id=model.name)
    return ModelAdopted(
        row=tx.projections.digest("models", name=model.name),
        class_spaces=tuple((row["class_index"], row["spec_digest"], row_digest("class_spaces", row)) for row in spaces),
        bases=tuple((v.number, tx.projections.basis_digest(model.name, v.number)) for v in tx.versions.all(model)),
        evidence=tuple((number, tuple(digests)) for number, digests in sorted(measured.items())),
        keys=tuple(
            (row["id"], idempotency_digest(row["body_digest"], row["idempotency_key"]))
            for row in requests
            if row["id"] in unbound
        ),
    )
