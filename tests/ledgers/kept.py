"""What a ledger keeps so that it need not compute it again, and what ``fsck --read-data`` says of everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.service.progress import Silent
from ledger.service.upkeep.fsck import fsck

from .desk import MODEL

if TYPE_CHECKING:
    from ledger.domain.kept_results import KeptResult, ResultKind

    from .desk import Desk


def kept_of(desk: Desk, kind: ResultKind) -> KeptResult | None:
    """Return what is kept of a kind for the model's anchor."""
    with desk.ledger.database.read() as tx:
        model = tx.models.get(MODEL)
        return tx.kept_results.find(model, model.anchor, kind)


def found(desk: Desk) -> list[str]:
    """Return what ``fsck --read-data`` finds: faults, each with what has it."""
    return [f"{one.fault} {one.what}" for one in fsck(desk.ledger, Silent(), read_data=True).findings]
