"""Write a new version: the one place where a version, the alias and the audit history change together."""

from datetime import datetime

from ledger.digest import json_digest
from ledger.domain.records import BasisTerm, Model, Version, VersionKind
from ledger.errors import RetryLaterError
from ledger.store.unit_of_work import Transaction

from .proposal import Proposal


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
    tx.spaces.add_blob(version.weights, size, "weights", at=at)
    tx.versions.add(version, terms)
    seq = tx.audit.append(
        "version.created",
        at=at,
        actor=actor,
        model=model.name,
        request_id=version.request_id,
        data={
            "version": version.number,
            "parent": version.parent,
            "kind": version.kind.value,
            "forgotten": sorted(version.forgotten),
            "weights": version.weights,
            "recipe": json_digest(version.recipe),
        }
        | ({} if version.restores is None else {"restores": version.restores}),
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
        number=next_number(tx, model),
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
    return version


def next_number(tx: Transaction, model: Model) -> int:
    """Return the number that the model's next version gets."""
    return tx.versions.all(model)[-1].number + 1
