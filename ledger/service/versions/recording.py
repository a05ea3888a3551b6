"""Write rows that belong to a model or version together with the entry of the audit log that covers them."""

from collections.abc import Iterator, Sequence

from ledger.audit.row_digests import row_digest, value_digest
from ledger.domain.class_spaces import ClassSpace, NewClassSpace
from ledger.domain.events.ledgers import ObjectDestroyed
from ledger.domain.events.models import ClassSpaceCollected
from ledger.domain.events.versions import VersionEvaluated
from ledger.domain.evidence import Evidence
from ledger.domain.models import Model
from ledger.domain.versions import Version
from ledger.store.audit.log import NewEntry
from ledger.store.unit_of_work import Transaction


def append_class_spaces(
    tx: Transaction, model: Model, spaces: Sequence[NewClassSpace], *, actor: str
) -> list[ClassSpace]:
    """Store class spaces whose bytes are stored already; return them as stored.

    The number of statements does not depend on their number.

    Args:
        tx: A write transaction, committed by the caller.
        model: The class spaces' model.
        spaces: What was collected, of different classes.
        actor: Who collected it.
    """
    _refer(tx, spaces)
    stored = tx.class_spaces.add_all(spaces)
    tx.audit.append_all(list(_collected(tx, model, stored, spaces, actor)))
    return stored


def append_renewed_class_space(tx: Transaction, model: Model, space: NewClassSpace, *, actor: str) -> ClassSpace:
    """Store a class space, whose bytes are stored already, in the place of one whose bytes were lost.

    Args:
        tx: A write transaction, committed by the caller.
        model: The class space's model.
        space: What was collected.
        actor: Who collected it.
    """
    _refer(tx, [space])
    before = tx.class_spaces.find(model, space.class_index, space.spec_digest)
    stored = tx.class_spaces.renew(space)
    tx.audit.append_all(list(_collected(tx, model, [stored], [space], actor)))
    replaced = None if before is None or before.object_digest == stored.object_digest else before.object_digest
    if replaced is not None and tx.objects.is_destroyed(replaced):
        # Another machine rounded differently, and nothing needs the damaged object any more.
        tx.audit.append(ObjectDestroyed(object=replaced), at=space.created_at, actor=actor)
    return stored


def _refer(tx: Transaction, spaces: Sequence[NewClassSpace]) -> None:
    sizes = {space.object_digest: space.size for space in spaces}
    tx.objects.add_all(sizes, "class space", at=max(space.created_at for space in spaces))


def _collected(
    tx: Transaction, model: Model, stored: Sequence[ClassSpace], spaces: Sequence[NewClassSpace], actor: str
) -> Iterator[NewEntry]:
    """Yield what the audit log says of class spaces that were stored, with when each was collected."""
    specs = frozenset(one.spec_digest for one in stored)
    rows = {
        (row["class_index"], row["spec_digest"]): row_digest("class_spaces", row)
        for row in tx.projections.rows("class_spaces", model_id=model.name, spec_digest=specs)
    }
    for one, space in zip(stored, spaces, strict=True):
        event = ClassSpaceCollected(
            class_index=one.class_index,
            images=len(one.samples),
            samples=one.samples_digest,
            spec=one.spec_digest,
            blob=one.object_digest,
            size=one.size,
            row=rows[one.class_index, one.spec_digest],
        )
        yield NewEntry(event, at=space.created_at, actor=actor, model=model.name)


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
