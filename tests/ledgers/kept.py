"""What a ledger keeps so that it need not compute it again, and what ``fsck --read-data`` says of everything."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ledger.service.progress import Silent
from ledger.service.upkeep.fsck import fsck
from ledger.service.upkeep.purge import plan_purge, purge

from .desk import MODEL

if TYPE_CHECKING:
    from ledger.domain.kept_results import KeptPart, KeptResult, ResultKind
    from ledger.domain.versions import Version

    from .desk import Desk


def kept_of(desk: Desk, kind: ResultKind) -> KeptResult | None:
    """Return what is kept of a kind for the model's anchor."""
    with desk.ledger.database.read() as tx:
        model = tx.models.get(MODEL)
        return tx.kept_results.find(model, model.anchor, kind)


def found(desk: Desk) -> list[str]:
    """Return what ``fsck --read-data`` finds: faults, each with what has it."""
    return [f"{one.fault} {one.what}" for one in fsck(desk.ledger, Silent(), read_data=True).findings]


def parts_of(desk: Desk, kind: ResultKind) -> tuple[KeptPart, ...]:
    """Return the stored objects of what is kept of a kind, which there has to be."""
    kept = kept_of(desk, kind)
    assert kept is not None
    return kept.parts


def told(version: Version) -> tuple[Any, ...]:
    """Return what a version says that must not depend on what is kept."""
    return version.weights, version.recipe.document["search"], version.recipe.document["maps"]


def close_window(desk: Desk) -> None:
    """Purge everything that can be undone."""
    none = timedelta(0)
    purge(desk.ledger, plan_purge(desk.ledger, MODEL, none), none, Silent(), clock_is_right=True)


def harm(desk: Desk, part: KeptPart, how: str) -> None:
    """Remove a stored object (``unlink``), or change its last bit (``flip``)."""
    path = desk.root / "objects" / part.object_digest[:2] / part.object_digest[2:]
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink() if how == "unlink" else path.write_bytes(data)
