"""Copies of a ledger's keys, in a folder apart from the backup that they open.

Whoever has both can read every stored object. A key that a purge destroyed is destroyed in the copy as well.
"""

from collections.abc import Iterable
from pathlib import Path

from ledger.config import Config
from ledger.durable_files import Existing, is_regular, make_folder, overwrite_file, reason, remove_file, write_file
from ledger.errors import ConflictError, LedgerError, ObjectError, RefusedError
from ledger.service.sealed_snapshot import FILE as SNAPSHOT
from ledger.service.signing import FILE as SIGNING_KEY
from ledger.store.backups.manifest import ObjectCopy
from ledger.store.objects.copies import fingerprint
from ledger.store.objects.object_keys import ObjectKeys, key_file

OBJECTS = "objects"


def read_other_keys(folder: Path) -> dict[str, bytes]:
    """Return the files of a keys folder that are not keys of objects: the signing key and what is kept beside it.

    The snapshot of the log is not among them: it can be made again.

    Raises:
        LedgerError: One cannot be read.
    """
    try:
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        return {path.name: path.read_bytes() for path in found if is_regular(path) and path.name != SNAPSHOT}
    except OSError as error:
        raise LedgerError(f"cannot read {error.filename}: {error.strerror}", "check permissions") from error


def require_apart(config: Config, folder: Path, backup: Path | None) -> None:
    """Refuse a folder for copies of keys that is the ledger's own, lies in the backup or around it, or is another's.

    Raises:
        RefusedError: Keys and objects would lie together, or the ledger's own keys would be overwritten.
        ConflictError: It holds the keys of another ledger.
    """
    place, own = folder.resolve(), config.keys_path.resolve()
    if place.is_relative_to(own) or own.is_relative_to(place):
        raise RefusedError(f"{folder} holds the ledger's own keys", "name another folder for their copies")
    if backup is not None:
        apart = backup.resolve()
        if place.is_relative_to(apart) or apart.is_relative_to(place):
            raise RefusedError(
                f"the copies of the keys would lie together with the backup in {backup}",
                "name a folder elsewhere, best on another medium: whoever has both can read everything",
            )
    try:
        theirs, ours = ((path / SIGNING_KEY) for path in (place, own))
        if theirs.exists() and theirs.read_bytes() != ours.read_bytes():
            raise ConflictError(f"{folder} holds the keys of another ledger", "name another folder")
    except OSError as error:
        raise LedgerError(f"cannot read {error.filename}: {error.strerror}", "check permissions") from error


def write_keys(
    source: ObjectKeys, others: dict[str, bytes], entries: Iterable[ObjectCopy], folder: Path, *, prune: bool
) -> int:
    """Write copies of the keys that some objects need; return how many that are needed no more were destroyed.

    Args:
        source: The keys of the objects.
        others: Contents of the other files of the keys folder, by name.
        entries: The objects.
        folder: Where to; created for its owner alone.
        prune: Destroy what else is there.

    Raises:
        ObjectError: A key is missing, or is not the one that the object was encrypted with.
        LedgerError: The folder cannot be written.
    """
    copies = ObjectKeys(folder / OBJECTS)
    try:
        make_folder(folder, mode=0o700)
        make_folder(copies.folder, mode=0o700)
        for name, data in others.items():
            write_file(folder / name, [data], existing=Existing.REPLACE, mode=0o600)
        needed = set()
        for entry in entries:
            if entry.key is None:
                continue
            needed.add(entry.digest)
            key = _key(source, entry) or _key(copies, entry)
            if key is None:
                raise ObjectError(
                    f"the key of object {entry.digest} is missing from {source.folder}, or is another one",
                    "name the folder of the keys that belong to this backup",
                    fault="key missing",
                )
            data = key_file(entry.digest, key)
            target = copies.folder / entry.digest
            if not is_regular(target) or target.read_bytes() != data:
                write_file(target, [data], existing=Existing.REPLACE, mode=0o600)
        if not prune:
            return 0
        for left in copies.temporaries():
            overwrite_file(left)
            remove_file(left)
        outdated = [digest for digest in copies.digests() if digest not in needed]
    except OSError as error:
        raise LedgerError(
            f"cannot write copies of the keys to {folder}: {reason(error)}", "free some space or check permissions"
        ) from error
    for digest in outdated:
        copies.destroy(digest)
    return len(outdated)


def _key(keys: ObjectKeys, entry: ObjectCopy) -> bytes | None:
    """Return the key that opens an object's copy, if it is here."""
    try:
        key = keys.read(entry.digest)
    except ObjectError:
        return None
    return key if key is not None and fingerprint(key) == entry.key else None
