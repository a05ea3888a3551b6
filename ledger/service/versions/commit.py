"""Write a new model or version: the one place where such a row, the alias and the audit log change together."""

from dataclasses import replace
from datetime import datetime

from ledger.audit.row_digests import setup_digest
from ledger.digest import json_digest
from ledger.domain.class_spaces import BasisTerm
from ledger.domain.events.models import ModelRegistered
from ledger.domain.events.versions import VersionCreated
from ledger.domain.models import Model, NewModel
from ledger.domain.registered_accuracy import RegisteredAccuracy
from ledger.domain.versions import Version, VersionKind
from ledger.errors import RetryLaterError
from ledger.store.unit_of_work import Transaction

from .proposal import Proposal
from .recording import append_evidence


def append_model(
    tx: Transaction,
    model: NewModel,
    *,
    actor: str,
    weights: str,
    code: str | None = None,
    unhandled_allowed: int | None = None,
    plugins: tuple[str, ...] | None = None,
    accuracy: RegisteredAccuracy | None = None,
) -> Model:
    """Add a model, without a version yet, and tell the audit log of it; return it with its id.

    Args:
        tx: A write transaction, committed by the caller together with the model's first version.
        model: What to add.
        actor: Who registers it.
        weights: Digest of its registered weights.
        code: Digest of the source code that builds its network.
        unhandled_allowed: Number of weights that may stay unedited although no layer handler covers them.
        plugins: Name and version of the plugins that built the network and opened the images.
        accuracy: How well the registered weights answer.

    Raises:
        ConflictError: The name is taken.
        AuditError: The audit log does not verify.
        RowError: The name was taken, as the audit log says, and the row is gone.
    """
    added = tx.models.add(model)
    tx.trusted.unrecorded("models", [(model.name,)])
    architecture = model.architecture
    setup = setup_digest(architecture.options, model.preprocessing.to_json(), model.settings.to_json())
    registered = ModelRegistered(
        architecture=architecture.spec,
        weights=weights,
        data=model.data_digest,
        setup=setup,
        classes=len(model.labels),
        code=code,
        unhandled_allowed=unhandled_allowed,
        plugins=plugins,
        row=tx.projections.digest("models", name=model.name),
        test_images=accuracy.of_test.images if accuracy else None,
        test_correct=accuracy.of_test.correct if accuracy else None,
        accuracy_accepted=accuracy is not None and accuracy.accepted,
        outputs=accuracy.outputs if accuracy and accuracy.outputs != "logits" else None,
    )
    tx.audit.append(registered, at=model.created_at, actor=actor, model=model.name)
    return added


def append_version(
    tx: Transaction,
    model: Model,
    version: Version,
    *,
    size: int,
    terms: tuple[BasisTerm, ...],
    actor: str,
    at: datetime,
) -> int:
    """Add a version and point the ``live`` alias at it; return the audit sequence number.

    Args:
        tx: A write transaction, committed by the caller together with whatever caused the version.
        model: The version's model.
        version: Its ``parent`` must still be the live version.
        size: Bytes of the weights.
        terms: The class spaces of its bases.
        actor: Who causes it.
        at: When.

    Raises:
        RetryLaterError: Another version became live since the computation began.
    """
    if version.parent is not None:
        live = tx.versions.live(model)
        if live.number != version.parent:
            raise RetryLaterError(
                f"version {live.number} of {model.name} became live while this was computed from version "
                f"{version.parent}",
                "run the same command again",
            )
    tx.objects.add(version.weights, size, "weights", at=at)
    tx.versions.add(version, terms)
    seq = tx.audit.append(
        VersionCreated(
            version=version.number,
            parent=version.parent,
            version_kind=version.kind,
            forgotten=tuple(sorted(version.forgotten)),
            weights=version.weights,
            recipe=json_digest(version.recipe.to_json()),
            restores=version.restores,
            size=size,
            basis=tx.projections.basis_digest(model.name, version.number),
        ),
        at=at,
        actor=actor,
        model=model.name,
        request_id=version.request_id,
    )
    tx.versions.move_live(model, version.number, at=at, audit_seq=seq)
    return seq


def append_proposal(
    tx: Transaction,
    model: Model,
    proposal: Proposal,
    parent: Version,
    kind: VersionKind,
    request_id: int,
    *,
    actor: str,
    at: datetime,
) -> Version:
    """Make computed weights the model's next version and live, for the request that asked for them.

    Raises:
        RetryLaterError: ``parent`` is no longer the live version, or a purge changed what computations start from.
    """
    if tx.models.by_id(model.id).anchor != proposal.anchor:
        raise RetryLaterError(f"{model.name} was purged while this was computed", "run the same command again")
    version = Version(
        model_id=model.id,
        number=tx.versions.next_number(model),
        parent=parent.number,
        kind=kind,
        request_id=request_id,
        restores=None,
        forgotten=proposal.forgotten,
        weights=proposal.weights,
        recipe=proposal.recipe,
        created_at=at,
    )
    append_version(tx, model, version, size=proposal.size, terms=proposal.terms, actor=actor, at=at)
    for evidence in proposal.measured:
        append_evidence(tx, model, version, replace(evidence, created_at=at), actor=actor)
    return version
