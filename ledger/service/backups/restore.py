"""Restore a backup into a new folder, and verify all of it before anybody can use it.

Everything is put together beside the folder and gets its name at the end, so that there is either a whole ledger or
none. What is verified: the manifest's signature, every byte against the manifest, the audit log and its signed
checkpoints, each row against the audit log, and each object against its digest, with its own key.
"""

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ledger.audit.signed_notes import Verifier
from ledger.config import Config, write_config
from ledger.durable_files import TEMPORARY, is_vacant, make_folder, reason, sync_folder, write_file
from ledger.errors import ConflictError, IntegrityError, LedgerError, NotFoundError, ObjectError
from ledger.service.audit.replay import differences_in
from ledger.service.progress import Progress, counted
from ledger.service.signing import own_verifier
from ledger.store.backups.manifest import FILE, SQLITE, Manifest, ObjectCopy, open_manifest
from ledger.store.backups.place import Place, open_place
from ledger.store.backups.snapshot import clear, put_back, require_empty
from ledger.store.database.address import database_file, database_url
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import upgrade_schema
from ledger.store.objects.copies import stored_bytes
from ledger.store.objects.local_folder import LocalFolder
from ledger.store.objects.object_keys import ObjectKeys
from ledger.store.objects.object_store import ObjectStore, open_objects
from ledger.store.unit_of_work import Database

from .key_copies import OBJECTS, read_other_keys, write_keys

DATABASE = "sqlite:///ledger.db"
STORE = "objects"
PIECE = 2**20


@dataclass(frozen=True)
class RestoreResult:
    """What was restored, and what was verified of it."""

    folder: Path
    entries: int
    """Length of the audit log."""
    head: str
    created_at: str
    """When the backup was made."""
    objects: int
    missing: tuple[str, ...]
    """Objects that were missing already when the backup was made."""
    opened: bool
    """Whether the keys were there, so that each object was decrypted and hashed."""


def restore(
    source: str,
    into: Path,
    progress: Progress,
    *,
    database: str | None = None,
    keys: Path | None = None,
    key: str | None = None,
) -> RestoreResult:
    """Restore a backup into a folder that is empty or not there yet.

    Args:
        source: A folder, or a URL that fsspec knows.
        into: The folder of the restored ledger.
        progress: Counts objects.
        database: URL of an empty database; None makes a SQLite file in the folder.
        keys: The folder of the keys, or of their copies. None restores without them: the objects are then as they were
            backed up, but nobody can open them until the keys are put back.
        key: Verifier key of whom the manifest must be signed by; None takes that of ``keys``, or the ledger's own as
            its first entry names it.

    Raises:
        NotFoundError: There is no finished backup.
        ConflictError: The folder or the database is not empty.
        IntegrityError: Something is not what was backed up. Nothing is left in the folder.
        LedgerError: Something cannot be read or written. Nothing is left in the folder.
    """
    target = into.resolve()
    if (target.exists() or into.is_symlink()) and not is_vacant(target):
        raise ConflictError(f"{into} is not an empty folder", "name a new folder; nothing was changed")
    place = open_place(source)
    verifier = Verifier.parse(key) if key else _verifier(keys)
    manifest = _read_manifest(place, verifier)
    try:
        make_folder(target.parent)
        staging = target.parent / (TEMPORARY + secrets.token_hex(6))
        staging.mkdir(mode=0o700)
        try:
            config = Config(staging, database or DATABASE, STORE)
            with _database(place, manifest, config) as opened:
                _copy_objects(place, manifest, config, progress)
                if keys is not None:
                    needed = _needed(manifest)
                    write_keys(ObjectKeys(keys / OBJECTS), read_other_keys(keys), needed, config.keys_path, prune=False)
                _verify(opened, open_objects(config), manifest, progress, opened=keys is not None)
            write_config(config, manifest.settings)
            _give_name(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except FileNotFoundError as error:
        raise IntegrityError(f"the backup in {place} lacks a file: {error}", "use another backup") from error
    except OSError as error:
        raise LedgerError(
            f"cannot restore into {into}: {reason(error)}", "free some space or check permissions, then repeat it"
        ) from error
    return RestoreResult(
        folder=target,
        entries=manifest.entries,
        head=manifest.head,
        created_at=manifest.created_at,
        objects=len(manifest.objects),
        missing=manifest.missing,
        opened=keys is not None,
    )


def _verifier(keys: Path | None) -> Verifier | None:
    if keys is None:
        return None
    if not keys.is_dir():
        raise NotFoundError(f"there is no folder {keys}", "name the folder of the keys, or of their copies")
    return own_verifier(Config(keys, DATABASE, STORE, keys="."))


def _read_manifest(place: Place, verifier: Verifier | None) -> Manifest:
    try:
        data = b"".join(place.read(FILE))
    except FileNotFoundError:
        raise NotFoundError(
            f"there is no finished backup in {place}", "it is finished once its manifest.json is written"
        ) from None
    except OSError as error:
        raise LedgerError(f"cannot read the backup in {place}: {reason(error)}", "check permissions") from error
    return open_manifest(data, verifier)


def _needed(manifest: Manifest) -> tuple[ObjectCopy, ...]:
    return tuple(entry for entry in manifest.objects if entry.digest not in manifest.missing)


@contextmanager
def _database(place: Place, manifest: Manifest, config: Config) -> Iterator[Database]:
    """Yield the database, filled with what was backed up; leave nothing of it if the block raises."""
    url = database_url(config)
    file = database_file(url)
    engine = open_engine(url)
    try:
        if file is None or not file.is_relative_to(config.root):
            require_empty(engine)
        try:
            fetched = config.root / f"{TEMPORARY}database"
            write_file(fetched, _checked(place, manifest), mode=0o600)
            if manifest.database.form == SQLITE and file is not None:
                engine.dispose()
                file.unlink(missing_ok=True)
                write_file(file, _pieces(fetched), mode=0o600)
                upgrade_schema(engine)
            else:
                put_back(fetched, manifest.database.form, manifest.schema, engine)
            fetched.unlink()
            with closing(Database(engine)) as database:
                yield database
        except BaseException:
            with suppress(LedgerError, OSError):
                if file is None:
                    clear(engine)
                else:
                    engine.dispose()
                    file.unlink(missing_ok=True)
            raise
    finally:
        engine.dispose()


def _checked(place: Place, manifest: Manifest) -> Iterator[bytes]:
    """Yield the database's bytes, and raise at the end unless they are those of the manifest."""
    seen, size = hashlib.sha256(), 0
    for piece in place.read(manifest.database.file):
        seen.update(piece)
        size += len(piece)
        yield piece
    if (size, seen.hexdigest()) != (manifest.database.size, manifest.database.sha256):
        raise IntegrityError("the database in the backup is not the one that was backed up", "use another backup")


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(PIECE):
            yield piece


def _copy_objects(place: Place, manifest: Manifest, config: Config, progress: Progress) -> None:
    folder = LocalFolder(config.store_path)
    progress.phase("objects", len(manifest.objects))
    for entry in counted(progress, manifest.objects):

        def genuine(file: BinaryIO, entry: ObjectCopy = entry) -> bool:
            seen = hashlib.sha256()
            while piece := file.read(PIECE):
                seen.update(piece)
            return seen.hexdigest() == entry.sha256

        try:
            folder.write(entry.digest, stored_bytes(place.objects, entry.digest), genuine)
        except FileNotFoundError:
            raise ObjectError(
                f"object {entry.digest} is missing from the backup", "use another backup", fault="missing"
            ) from None
        except ObjectError as error:
            raise ObjectError(
                f"object {entry.digest} in the backup is not what was backed up", "use another backup", fault="altered"
            ) from error


def _verify(database: Database, objects: ObjectStore, manifest: Manifest, progress: Progress, *, opened: bool) -> None:
    """Check the restored ledger as ``audit verify`` and ``fsck --read-data`` would.

    Raises:
        IntegrityError: Names what is wrong.
    """
    problems = database.problems()
    if problems:
        raise IntegrityError(f"the restored database is damaged: {problems[0]}", "use another backup")
    signer = Verifier.parse(manifest.signer)
    with database.read() as tx:
        head = tx.audit.verify(verifiers=[signer])
        if (head.size, head.digest) != (manifest.entries, manifest.head):
            raise IntegrityError(
                f"the restored audit log ends at entry {head.size}, the manifest says {manifest.entries}",
                "use another backup",
            )
        first = next(iter(tx.audit.events()), None)
        named = None if first is None else first.data.get("key")
        if named is not None and named != manifest.signer:
            raise IntegrityError(
                "the backup is not signed with the key that the audit log names as the ledger's own",
                "use another backup",
            )
        contradicted = differences_in(tx)
        kept = tx.objects.kept()
    if contradicted:
        raise IntegrityError(f"a restored row contradicts the audit log: {contradicted[0]}", "use another backup")
    held = {entry.digest for entry in manifest.objects}
    absent = [digest for digest, _, _ in kept if digest not in held and digest not in manifest.missing]
    if absent:
        raise IntegrityError(f"object {absent[0]} is not in the backup", "use another backup")
    if opened:
        progress.phase("verify", len(held))
        for digest, size, _ in kept:
            if digest in held:
                objects.check(digest, size, read_data=True)
                progress.step()


def _give_name(staging: Path, target: Path) -> None:
    if target.is_dir():
        # Empty, but for what interrupted writing left.
        shutil.rmtree(target)
    staging.rename(target)
    sync_folder(target.parent)
