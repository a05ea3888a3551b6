"""Back a ledger up while others work with it.

The order makes the backup consistent: first the database as one transaction sees it, then every object that its rows
refer to, and last the signed manifest that says what belongs together. Objects never change, so copying them later than
the database does no harm; only a purge takes one away, and then everything begins again. Until the manifest is written,
the one of the backup before and all that it names are there.

What nothing in the new manifest names is removed at the end. So a purge reaches the backup with the next run.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ledger import __version__
from ledger.config import other_settings
from ledger.durable_files import TEMPORARY, open_regular, overwrite_file, reason
from ledger.errors import (
    ConflictError,
    IntegrityError,
    LedgerError,
    ObjectError,
    RefusedError,
    RetryLaterError,
    SignatureError,
)
from ledger.service.audit.replay import differences_in
from ledger.service.ledger import Ledger
from ledger.service.output_files import require_outside_ledgers
from ledger.service.progress import Progress, counted
from ledger.service.signing import load_signer
from ledger.store.backups.manifest import FILE, FORMAT, DatabaseCopy, Manifest, ObjectCopy, open_manifest, sign_manifest
from ledger.store.backups.place import LocalPlace, Place, open_place
from ledger.store.backups.snapshot import SUFFIXES, take_snapshot
from ledger.store.database.schema import HEAD
from ledger.store.objects.copies import copy_object, key_fingerprint, stored_bytes
from ledger.store.unit_of_work import Transaction

from .key_copies import read_other_keys, require_apart, write_keys

TRIES = 5
"""How often everything begins again because a purge took an object away meanwhile."""
DATABASE = "database-"
"""What names of databases in a backup begin with; the rest is their digest."""
PIECE = 2**20


@dataclass(frozen=True)
class BackupResult:
    """What a backup holds, and what it took."""

    place: str
    entries: int
    """Length of the audit log."""
    head: str
    objects: int
    copied: int
    """Objects that the backup did not hold before."""
    copied_bytes: int
    removed: int
    """Objects that the backup held and that no row needs any more, those that a purge destroyed among them."""
    keys: str | None
    """Where the keys were copied to."""
    keys_destroyed: int
    damaged: tuple[str, ...]
    """Objects that are missing or damaged in the ledger itself."""
    missing: tuple[str, ...]
    """Those of them that the backup does not hold from an earlier run either."""
    keys_left_behind: bool
    """The backup before had its keys copied, and this one had not: those copies hold what was purged since."""


@dataclass(frozen=True)
class _Snapshot:
    """What the rows say, as the transaction saw them that wrote the database's copy."""

    size: int
    digest: str
    objects: tuple[tuple[str, int], ...]
    """Digest and plain bytes of every object that must be there."""


def back_up(
    ledger: Ledger, where: str, progress: Progress, *, keys: Path | None = None, read_data: bool = False
) -> BackupResult:
    """Back a ledger up, or bring its backup up to date.

    Args:
        ledger: The ledger; others may work with it meanwhile.
        where: A folder, or a URL that fsspec knows.
        progress: Counts objects.
        keys: A folder for copies of the keys, apart from the backup; None leaves them out.
        read_data: Also read and hash the objects that the backup holds already, and copy damaged ones again.

    Raises:
        IntegrityError: Audit log and rows do not verify, the database is older than its newest checkpoint, or the keys
            are another ledger's. Nothing was written; the backup before is as it was.
        ConflictError: The place holds something else, or the backup of another ledger.
        RefusedError: The place belongs to the ledger, or keys and backup would lie together.
        RetryLaterError: Another backup is being written there, or purges came in between again and again.
        LedgerError: Something cannot be read or written. The backup before is as it was.
    """
    # Refused at once if this account cannot sign.
    load_signer(ledger.config)
    # A newer backup is not replaced by an older database.
    problem = ledger.problem()
    if problem is not None:
        raise problem
    local = None if "://" in where else Path(where)
    if local is not None:
        _require_outside(ledger, local)
    if keys is not None:
        require_apart(ledger.config, keys, local)
    place = open_place(where)
    try:
        with place.lock():
            before = _manifest_before(place, ledger)
            for _ in range(TRIES):
                result = _try(ledger, place, before, keys, progress, read_data=read_data)
                if result is not None:
                    return result
    except OSError as error:
        raise LedgerError(
            f"cannot write a backup to {place}: {reason(error)}", "free some space or check permissions, then repeat it"
        ) from error
    raise RetryLaterError(
        f"purges took objects away while they were copied, {TRIES} times", "back up when no purge runs"
    )


def _try(
    ledger: Ledger, place: Place, before: Manifest | None, keys: Path | None, progress: Progress, *, read_data: bool
) -> BackupResult | None:
    """Return what a backup holds, or None if objects were destroyed under it."""
    signer = load_signer(ledger.config)
    # Before the database: the signer must not remember more than the database holds.
    others = {} if keys is None else read_other_keys(ledger.config.keys_path)
    progress.phase("database", 1)
    with _scratch(place) as folder:
        form, seen = take_snapshot(ledger.database.engine, folder / "snapshot", partial(_look, ledger))
        progress.step()
        database = _put_database(place, folder / "snapshot", form)
    progress.phase("objects", len(seen.objects))
    kept = {} if before is None else {entry.digest: entry for entry in before.objects}
    entries: list[ObjectCopy] = []
    damaged: list[str] = []
    copied: list[ObjectCopy] = []
    for digest, size in counted(progress, seen.objects):
        entry = _unchanged(ledger, place, kept.get(digest), read_data=read_data)
        if entry is None:
            try:
                form_of = copy_object(ledger.objects, digest, size, place.objects)
            except ObjectError:
                damaged.append(digest)
                entry = _held(place, kept.get(digest))
            else:
                entry = ObjectCopy(digest, size, form_of.size, form_of.sha256, form_of.key)
                copied.append(entry)
        if entry is not None:
            entries.append(entry)
    if not _still_there(ledger, seen, entries, damaged):
        return None
    try:
        destroyed = 0 if keys is None else write_keys(ledger.objects.keys, others, entries, keys, prune=True)
    except ObjectError:
        if _still_there(ledger, seen, entries, damaged):
            raise
        return None
    missing = tuple(sorted(set(damaged) - {entry.digest for entry in entries}))
    manifest = Manifest(
        format=FORMAT,
        signer=str(signer.verifier),
        release=__version__,
        created_at=ledger.clock().isoformat(),
        schema=HEAD,
        entries=seen.size,
        head=seen.digest,
        database=database,
        objects=tuple(entries),
        missing=missing,
        settings=other_settings(ledger.config),
        keys=keys is not None,
    )
    place.write(FILE, [sign_manifest(manifest, signer)])
    removed = _prune(place, manifest)
    return BackupResult(
        place=str(place),
        entries=seen.size,
        head=seen.digest,
        objects=len(entries),
        copied=len(copied),
        copied_bytes=sum(entry.stored_size for entry in copied),
        removed=removed,
        keys=None if keys is None else str(keys),
        keys_destroyed=destroyed,
        damaged=tuple(damaged),
        missing=missing,
        keys_left_behind=before is not None and before.keys and keys is None,
    )


def _look(ledger: Ledger, tx: Transaction) -> _Snapshot:
    """Return what the backup must hold, once audit log and rows were found to agree.

    Raises:
        IntegrityError: They do not: such a backup would take the place of a good one.
    """
    verifier = load_signer(ledger.config).verifier
    head = tx.audit.verify(verifiers=[verifier])
    contradicted = differences_in(tx)
    if contradicted:
        raise IntegrityError(
            f"nothing was backed up, since the rows contradict the audit log: {contradicted[0]}",
            "see: unledger fsck. The backup before is as it was",
        )
    return _Snapshot(head.size, head.digest, tuple((digest, size) for digest, size, _ in tx.objects.kept()))


@contextmanager
def _scratch(place: Place) -> Iterator[Path]:
    """Yield a folder of its owner alone for a copy of the database, and remove it with what is in it."""
    beside = place.root if isinstance(place, LocalPlace) else None
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=beside) as name:
        try:
            yield Path(name)
        finally:
            for path in Path(name).iterdir():
                overwrite_file(path)


def _put_database(place: Place, file: Path, form: str) -> DatabaseCopy:
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(file):
        digest.update(piece)
        size += len(piece)
    name = f"{DATABASE}{digest.hexdigest()[:16]}{SUFFIXES[form]}"
    place.write(name, _pieces(file))
    return DatabaseCopy(name, form, size, digest.hexdigest())


def _pieces(file: Path) -> Iterator[bytes]:
    with open_regular(file) as opened:
        while piece := opened.read(PIECE):
            yield piece


def _unchanged(ledger: Ledger, place: Place, entry: ObjectCopy | None, *, read_data: bool) -> ObjectCopy | None:
    """Return what the backup before holds of an object, if that is still what the ledger has."""
    held = _held(place, entry, read_data=read_data)
    try:
        same = held is not None and key_fingerprint(ledger.objects, held.digest) == held.key
    except ObjectError:
        return None
    return held if same else None


def _held(place: Place, entry: ObjectCopy | None, *, read_data: bool = True) -> ObjectCopy | None:
    """Return an entry of the backup before, if its object is there."""
    if entry is None or place.objects.size(entry.digest) != entry.stored_size:
        return None
    if read_data:
        digest = hashlib.sha256()
        for piece in stored_bytes(place.objects, entry.digest):
            digest.update(piece)
        if digest.hexdigest() != entry.sha256:
            return None
    return entry


def _still_there(ledger: Ledger, seen: _Snapshot, entries: list[ObjectCopy], damaged: list[str]) -> bool:
    """Return whether no purge has destroyed since what the copy of the database still needs."""
    # A purge destroys first and says so when it commits: where something is missing, it is waited for.
    opened = ledger.database.write() if damaged else ledger.database.read()
    with opened as tx:
        destroyed = tx.objects.destroyed()
    if destroyed & {digest for digest, _ in seen.objects}:
        return False
    for entry in entries:
        if entry.digest not in damaged:
            try:
                if key_fingerprint(ledger.objects, entry.digest) != entry.key:
                    return False
            except ObjectError:
                continue
    return True


def _manifest_before(place: Place, ledger: Ledger) -> Manifest | None:
    names = place.names()
    if FILE not in names:
        foreign = [name for name in names if not name.startswith(DATABASE)]
        if foreign:
            raise ConflictError(f"{place} holds something else than a backup: {foreign[0]}", "name a new folder")
        return None
    try:
        return open_manifest(b"".join(place.read(FILE)), load_signer(ledger.config).verifier)
    except SignatureError as error:
        raise ConflictError(
            f"{place} does not hold a backup of this ledger: {error.message}",
            "name another folder; nothing was changed",
        ) from error


def _prune(place: Place, manifest: Manifest) -> int:
    """Remove what the manifest does not name, and return how many objects that were."""
    needed = {entry.digest for entry in manifest.objects}
    outdated = [digest for digest in place.objects.digests() if digest not in needed]
    for digest in outdated:
        place.objects.overwrite(digest)
        place.objects.remove(digest)
    for name in place.names():
        if name.startswith(DATABASE) and name != manifest.database.file:
            place.remove(name)
    return len(outdated)


def _require_outside(ledger: Ledger, place: Path) -> None:
    require_outside_ledgers(ledger.config, place)
    around = place.resolve()
    for part in (ledger.config.root, ledger.config.keys_path.resolve()):
        if part.is_relative_to(around):
            raise RefusedError(f"{place} holds the ledger itself", "name a folder elsewhere, best on another disk")
