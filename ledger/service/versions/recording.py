"""Write rows that belong to a model or version together with the entry of the audit log that covers them."""

from collections.abc import Callable

from ledger.audit.row_digests import value_digest
from ledger.domain.class_spaces import ClassSpace, NewClassSpace
from ledger.domain.events.ledgers import ObjectDestroyed
from ledger.domain.events.models import ClassSpaceCollected
from ledger.domain.events.versions import VersionEvaluated
from ledger.domain.evidence import Evidence
from ledger.domain.models import Model
from ledger.domain.versions import Version
from ledger.store.unit_of_work import Transaction


def append_class_space(
    tx: Transaction, model: Model, space: NewClassSpace, *, actor: str, save: Callable[[NewClassSpace], ClassSpace]
) -> ClassSpace:
    """Store a class space whose bytes are stored already; return it as stored.

    Args:
        tx: A write transaction, committed by the caller.
        model: The class space's model.
        space: What was collected.
        actor: Who collected it.
        save: ``tx.class_spaces.add``, or ``tx.class_spaces.renew`` for one whose bytes were lost.
    """
    tx.objects.add(space.object_digest, space.size, "class space", at=space.created_at)
    before = tx.class_spaces.find(model, space.class_index, space.spec_digest)
    stored = save(space)
    key = {"model_id": model.name, "class_index": stored.class_index, "spec_digest": stored.spec_digest}
    collected = ClassSpaceCollected(
        class_index=stored.class_index,
        images=len(stored.samples),
        samples=stored.samples_digest,
        spec=stored.spec_digest,
        blob=stored.object_digest,
        size=stored.size,
        row=tx.projections.digest("class_spaces", **key),
    )
    tx.audit.append(collected, at=space.created_at, actor=actor, model=model.name)
    replaced = None if before is None or before.object_digest == stored.object_digest else before.object_digest
    if replaced is not None and tx.objects.is_destroyed(replaced):
        # Another machine rounded differently, and nothing needs the damaged object any more.
        tx.audit.append(ObjectDestroyed(object=replaced), at=space.created_at, actor=actor)
    return stored


def append_evidence(tx: Transaction, model: Model, version: Version, evidence: Evidence, *, actor: str) -> None:
    """Store what an evaluator measured on a version.

    Args:
        tx: A write transaction, committed by the caller.
        model: The version's model.
        version: What was measured.
        evidence: What was found.
        actor: Who measured.
    """
    tx.versions.add_evidence(version, evidence)
    key = {"model_id": model.name, "version": version.number, "evaluator": evidence.evaluator}
    evaluated = VersionEvaluated(
        version=version.number,
        evaluator=evidence.evaluator,
        plugin=evidence.plugin,
        plugin_version=evidence.plugin_version,
        metrics=value_digest(evidence.metrics),
        inputs=evidence.inputs_digest,
        against=evidence.provenance.against,
        row=tx.projections.digest("evidence", **key),
    )
    tx.audit.append(evaluated, at=evidence.created_at, actor=actor, model=model.name)
