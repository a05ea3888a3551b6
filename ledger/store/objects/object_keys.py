"""The keys of stored objects: one file each, in a folder apart from the objects, so that destroying a key is enough.

A file holds the key and, to tell a damaged or swapped key from a damaged object, a digest of both their names.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ledger.durable_files import (
    TEMPORARY,
    Existing,
    make_folder,
    open_regular,
    overwrite_file,
    ownership_hint,
    reason,
    remove_file,
    sync_folder,
    write_file,
)
from ledger.errors import AccessError, LedgerError, ObjectError

from .encryption import KEY
from .object_names import is_digest

SIZE = KEY + 32


class ObjectKeys:
    """Keys in a local folder, by the digest of the object each belongs to.

    Args:
        folder: The folder; created, for its owner alone, on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def obtain(self, digest: str) -> bytes:
        """Return an object's key, made and flushed to disk if there is none or it is damaged.

        Raises:
            LedgerError: The disk is full or cannot be written.
        """
        try:
            known = self.read(digest)
        except ObjectError:
            known = None  # of no use to anybody any more: a new one takes its place
        try:
            if known is not None:
                # Whoever wrote it may have died before its name was durable.
                sync_folder(self.folder)
                return known
            make_folder(self.folder.parent, mode=0o700)
            make_folder(self.folder, mode=0o700)
            key = secrets.token_bytes(KEY)
            write_file(
                self._path(digest),
                [key_file(digest, key)],
                existing=Existing.KEEP,
                mode=0o600,
                check=lambda file: _genuine(file, digest),
            )
        except OSError as error:
            raise LedgerError(
                f"cannot store an object's key in {self.folder}: {reason(error)}",
                "free some space or check permissions",
            ) from error
        # Somebody else's, if they were first.
        return self.read(digest) or key

    def read(self, digest: str) -> bytes | None:
        """Return an object's key, or None if there is none.

        Raises:
            ObjectError: It is damaged, or belongs to another object.
            AccessError: This account may not read it.
        """
        try:
            with open_regular(self._path(digest)) as file:
                content = file.read(SIZE + 1)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            path = self._path(digest)
            raise AccessError(f"cannot read {path}: {error.strerror}", ownership_hint(path)) from error
        except OSError as error:
            raise _damaged(digest, f"it cannot be read ({error.strerror})") from error
        key = content[:KEY]
        if content[KEY:] != _seal(digest, key):
            raise _damaged(digest, "it is not what was stored")
        return key

    def __contains__(self, digest: str) -> bool:
        return os.path.lexists(self._path(digest))

    def destroy(self, digest: str) -> None:
        """Overwrite a key and remove it, durably. Done again after a crash, it finishes what was begun.

        Raises:
            LedgerError: It cannot be overwritten or removed.
        """
        path = self._path(digest)
        try:
            overwrite_file(path)
            remove_file(path)
        except OSError as error:
            raise LedgerError(
                f"cannot destroy the key of object {digest}: {error.strerror}", f"check permissions of {self.folder}"
            ) from error

    def digests(self) -> Iterator[str]:
        """Yield the digests of objects whose keys are here, in order."""
        names = sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []
        yield from (name for name in names if is_digest(name))

    def size(self, digest: str) -> int:
        """Return the bytes of a key's file."""
        return self._path(digest).lstat().st_size

    def modified(self, digest: str) -> float:
        """Return when a key was written, in seconds since 1970."""
        return self._path(digest).lstat().st_mtime

    def temporaries(self) -> Iterator[Path]:
        """Yield what interrupted writing left behind."""
        yield from sorted(self.folder.glob(f"{TEMPORARY}*"))

    def _path(self, digest: str) -> Path:
        return self.folder / digest


def key_file(digest: str, key: bytes) -> bytes:
    """Return the contents of the file of an object's key."""
    return key + _seal(digest, key)


def _seal(digest: str, key: bytes) -> bytes:
    return hashlib.sha256(b"unledger object key\n" + bytes.fromhex(digest) + key).digest()


def _genuine(file: BinaryIO, digest: str) -> bool:
    content = file.read(SIZE + 1)
    return content[KEY:] == _seal(digest, content[:KEY])


def _damaged(digest: str, detail: str) -> ObjectError:
    return ObjectError(
        f"the key of object {digest} is damaged: {detail}",
        "restore the key from a backup of the keys",
        fault="key damaged",
    )
