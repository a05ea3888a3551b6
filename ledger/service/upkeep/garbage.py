"""Collect garbage: stored objects that nothing refers to and nobody is about to refer to.

Whoever stores an object first takes a lease on it. Each batch is looked at again, and removed, under the database's
write lock: a writer either had its lease noticed, or comes later and finds that it has to write the object.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.service.ledger import Ledger
from ledger.service.objects import disk_errors
from ledger.store.repositories.leases import TTL
from ledger.store.unit_of_work import Transaction

GRACE = TTL
"""Seconds that something must have lain about: nothing younger is garbage."""
BATCH = 100
"""Objects removed in one transaction."""


@dataclass(frozen=True)
class Garbage:
    """Something that may go."""

    kind: str
    """``object``, ``key`` (of an object that is not there) or ``temporary`` (what interrupted writing left)."""
    name: str
    """A digest, or a temporary file's path."""
    size: int
    """Bytes of its file."""


@disk_errors()
def collect_garbage(ledger: Ledger, *, grace: float = GRACE, dry_run: bool = False) -> list[Garbage]:
    """Remove what nothing refers to; return what was (or, with ``dry_run``, would be) removed.

    Raises:
        AuditError: The audit log does not verify.
        RowError: An object that the audit log tells of has no row any more. Nothing is removed.
        LedgerError: Something cannot be removed.
    """
    if not dry_run:
        ledger.require_current()
    with ledger.database.read() as tx:
        wanted = _wanted(tx)
    before = time.time() - grace
    found = list(find_garbage(ledger, wanted, before))
    if dry_run:
        return found
    removed: list[Garbage] = []
    for batch in _batches(found):
        with ledger.database.write() as tx:
            tx.leases.forget_old()
            wanted = _wanted(tx)
            still = [garbage for garbage in batch if garbage.name not in wanted and _old(ledger, garbage, before)]
            for garbage in still:
                _remove(ledger, garbage)
        removed += still
    return removed


def find_garbage(ledger: Ledger, wanted: frozenset[str], before: float) -> Iterator[Garbage]:
    """Yield what is garbage: objects, keys without one, temporary files.

    Args:
        ledger: The ledger.
        wanted: Digests that something refers to, or will soon.
        before: Only what was written earlier, in seconds since 1970.
    """
    store = ledger.objects
    there = set()
    for digest in store.digests():
        there.add(digest)
        if digest not in wanted and _old(ledger, garbage := Garbage("object", digest, store.size(digest) or 0), before):
            yield garbage
    for digest in store.keys.digests():
        if digest not in wanted and digest not in there:
            garbage = Garbage("key", digest, store.keys.size(digest))
            if _old(ledger, garbage, before):
                yield garbage
    for path in store.temporaries():
        garbage = Garbage("temporary", str(path), path.lstat().st_size)
        if _old(ledger, garbage, before):
            yield garbage


def _wanted(tx: Transaction) -> frozenset[str]:
    wanted = tx.objects.referred() | tx.leases.live()
    tx.trusted.needed(wanted)
    return wanted


def _old(ledger: Ledger, garbage: Garbage, before: float) -> bool:
    """Return whether something is still there and was written long enough ago."""
    try:
        if garbage.kind == "object":
            return ledger.objects.modified(garbage.name) < before
        if garbage.kind == "key":
            return ledger.objects.keys.modified(garbage.name) < before
        return Path(garbage.name).lstat().st_mtime < before
    except FileNotFoundError:
        return False


def _remove(ledger: Ledger, garbage: Garbage) -> None:
    if garbage.kind == "temporary":
        # Never overwritten: after a crash it may be another name of a file that is in use.
        Path(garbage.name).unlink(missing_ok=True)
    else:
        ledger.objects.remove(garbage.name)


def _batches(found: Sequence[Garbage]) -> Iterator[Sequence[Garbage]]:
    for start in range(0, len(found), BATCH):
        yield found[start : start + BATCH]
