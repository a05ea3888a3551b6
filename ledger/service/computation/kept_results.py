"""Keep what can be computed again, in the place of what was kept before; what that leaves unused is destroyed.

Objects first, then the row with its entry, then the destruction: a crash leaves garbage, or objects that nothing uses
any more and that the next purge, or the next result, destroys. What is kept decides nothing but how long a computation
takes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from ledger.domain.events.ledgers import ObjectDestroyed
from ledger.domain.events.models import ResultKept
from ledger.domain.kept_results import KeptPart, KeptResult, ResultKind
from ledger.errors import LedgerError
from ledger.service.ledger import Ledger
from ledger.service.objects import store_object
from ledger.store.unit_of_work import Transaction

from .workbench import Workbench

T = TypeVar("T")

PART_BYTES = 32 << 20
"""A stored part ends with the map, or the block of images, that reaches this size. A part is read as a whole."""


def cut(items: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Yield items in chunks, each ending with the item that reaches a size."""
    chunk: list[T] = []
    reached = 0
    for item in items:
        chunk.append(item)
        reached += size(item)
        if reached >= most:
            yield chunk
            chunk, reached = [], 0
    if chunk:
        yield chunk


def find_kept_result(workbench: Workbench, kind: ResultKind) -> KeptResult | None:
    """Return what is kept for the anchor that a model computes from; None if there is nothing.

    Raises:
        AuditError: The audit log does not verify.
        RowError: What the rows say is not what the audit log says.
    """
    with workbench.ledger.database.read() as tx:
        tx.trusted.kept_results(workbench.model.name)
        return tx.kept_results.find(workbench.model, workbench.anchor.number, kind)


def keep_result(
    workbench: Workbench,
    kind: ResultKind,
    members: Sequence[tuple[int, str]],
    parts: Iterable[tuple[Sequence[str], bytes]],
    beside: Sequence[KeptPart] = (),
) -> KeptResult | None:
    """Store a result; return it, or None if meanwhile the model was purged, or something else was kept.

    Args:
        workbench: The model.
        kind: What it is.
        members: The classes in it, ascending, each with the digest of what its part was computed from.
        parts: Names and bytes of each object; one at a time is held.
        beside: Parts of what was kept before that are parts of this, and come first.

    Raises:
        LedgerError: It cannot be stored.
    """
    ledger = workbench.ledger
    stored = tuple(KeptPart(tuple(names), store_object(ledger, data), len(data)) for names, data in parts)
    now = ledger.clock()
    own = (*beside, *stored)
    result = KeptResult(workbench.model.id, workbench.anchor.number, kind, tuple(members), own, now)
    with ledger.database.write() as tx:
        if tx.models.by_id(workbench.model.id).anchor != result.anchor:
            return None
        before = tx.kept_results.find(workbench.model, result.anchor, kind)
        if not set(beside) <= set(() if before is None else before.parts):
            return None
        append_kept_result(tx, workbench.model.name, result, actor=ledger.actor)
    if before is not None:
        destroy_unused(ledger)
    return result


def append_kept_result(tx: Transaction, model: str, result: KeptResult, *, actor: str) -> None:
    """Write the row of a result whose objects are stored, together with its entry.

    Args:
        tx: A write transaction, committed by the caller.
        model: Name of the result's model.
        result: What to keep.
        actor: Who computed it.
    """
    sizes = {part.object_digest: part.size for part in result.parts}
    tx.objects.add_all(sizes, "kept result", at=result.created_at)
    tx.kept_results.put(result)
    key = {"model_id": model, "anchor": result.anchor, "kind": result.kind.value}
    kept = ResultKept(
        result=result.kind.value,
        anchor=result.anchor,
        classes=len(result.members),
        parts=tuple((part.object_digest, part.size) for part in result.parts),
        row=tx.projections.digest("kept_results", **key),
    )
    tx.audit.append(kept, at=result.created_at, actor=actor, model=model)


def destroy_unused(ledger: Ledger) -> None:
    """Destroy the parts of kept results that nothing uses any more; what cannot be is left to the next time.

    Other requests wait for a transaction that writes, so what takes longer the more the ledger holds comes before it.
    """
    with suppress(LedgerError):
        with ledger.database.read() as tx:
            unused = tx.trusted.of_results_alone(tx.objects.doomed())
        if not unused:
            return
        with ledger.database.write() as tx:
            # Looked at again under the lock: somebody may have stored the same bytes meanwhile.
            for digest in [one for one in tx.objects.doomed() if one in unused]:
                ledger.objects.destroy(digest)
                now = ledger.clock()
                tx.objects.note_destroyed(digest, at=now)
                tx.audit.append(ObjectDestroyed(object=digest), at=now, actor=ledger.actor)
