"""Content-addressed objects, encrypted: an object's name is the SHA-256 of its plain bytes.

So it can never change unnoticed, and destroying its key destroys it. Writing order: lease (by the caller), key,
object, row: a crash leaves garbage, never a reference to nothing. Readers authenticate and hash every byte before
anybody sees one.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ledger.config import Config
from ledger.durable_files import ownership_hint, reason
from ledger.errors import AccessError, LedgerError, ObjectError

from .encryption import CHUNK, HEADER, MAGIC, altered, decrypt, encrypt, stored_size
from .local_folder import LocalFolder
from .object_folder import Folder
from .object_keys import ObjectKeys
from .object_names import require_digest
from .remote_folder import RemoteFolder

TRIES = 5
"""How often writing starts over when somebody destroys or replaces the key meanwhile."""


class ObjectStore:
    """Encrypted objects in a folder, their keys in another.

    Objects that an earlier release stored unencrypted stay readable: they lack the magic that every encrypted object
    begins with, and their bytes hash to their name. Storing the same bytes again encrypts them.

    Args:
        root: A local folder, created on the first write; or a URL that fsspec knows, such as ``s3://BUCKET/PREFIX``.
        keys: The local folder of the keys, created likewise. All who use the same objects must share it.
    """

    def __init__(self, root: Path | str, keys: Path) -> None:
        self.folder: Folder = RemoteFolder(root) if isinstance(root, str) else LocalFolder(root)
        self.keys = ObjectKeys(keys)

    def probe(self) -> None:
        """Reach the store once, so that a wrong address is noticed early.

        Raises:
            UsageError: Its driver is not installed, or no driver fits such a URL.
            LedgerError: It cannot be reached.
        """
        with self._reached():
            self.folder.probe()

    def try_writing(self) -> None:
        """Write something where the objects are, and remove it.

        Raises:
            LedgerError: It cannot be written or reached.
        """
        try:
            with self._reached():
                self.folder.try_writing()
        except OSError as error:
            raise LedgerError(
                f"{self.folder} cannot be written: {reason(error)}", "check permissions, and how the disk is mounted"
            ) from error

    def put(self, data: bytes) -> str:
        """Store bytes durably and return their digest; storing them again changes nothing.

        Raises:
            LedgerError: The disk is full or cannot be written. Nothing but perhaps a key is left behind.
            ObjectError: What was read back differs from what was written.
        """
        digest = hashlib.sha256(data).hexdigest()
        try:
            for _ in range(TRIES):
                key = self.keys.obtain(digest)
                if self._intact(digest, key):
                    self.folder.settle(digest)
                else:
                    self.folder.write(digest, encrypt(key, digest, data), partial(_matches, key=key, digest=digest))
                if self.keys.read(digest) == key:
                    return digest
        except OSError as error:
            raise LedgerError(
                f"cannot store an object in {self.folder}: {reason(error)}",
                "free some space or check permissions, then retry",
            ) from error
        raise LedgerError(f"the key of object {digest} is destroyed again and again", "see who else runs a purge")

    def get(self, digest: str) -> bytes:
        """Return an object's bytes, authenticated and hashed before anybody sees them.

        Raises:
            ObjectError: It or its key is missing, truncated or altered.
            LedgerError: The store cannot be reached, which says nothing about the object.
        """
        require_digest(digest)
        try:
            with self._reached(), self.folder.open(digest) as file:
                return self._read(file, digest)
        except FileNotFoundError:
            raise ObjectError(
                f"object {digest} is missing from {self.folder}", "restore it from a backup", fault="missing"
            ) from None
        except PermissionError as error:
            raise self._forbidden(digest, error) from error
        except OSError as error:
            raise ObjectError(f"object {digest} cannot be read: {error.strerror}", fault="unreadable") from error

    def __contains__(self, digest: str) -> bool:
        """Return whether an object is there with what is needed to read it; its bytes are not looked at."""
        return self.size(digest) is not None and (digest in self.keys or not self.is_encrypted(digest))

    def size(self, digest: str) -> int | None:
        """Return the bytes that an object's file takes, or None if there is none."""
        require_digest(digest)
        with self._reached():
            return self.folder.size(digest)

    def is_encrypted(self, digest: str) -> bool:
        """Return whether an object's file begins as encrypted ones do.

        Raises:
            ObjectError: It is missing or cannot be read.
        """
        require_digest(digest)
        try:
            with self._reached(), self.folder.open(digest) as file:
                return file.read(len(MAGIC)) == MAGIC
        except PermissionError as error:
            raise self._forbidden(digest, error) from error
        except OSError as error:
            raise ObjectError(f"object {digest} cannot be read: {error.strerror}", fault="unreadable") from error

    def digests(self) -> Iterator[str]:
        """Yield the digests of all objects that are there, in order."""
        try:
            with self._reached():
                yield from self.folder.digests()
        except OSError as error:
            raise LedgerError(f"cannot list {self.folder}: {error.strerror}", "check permissions") from error

    def modified(self, digest: str) -> float:
        """Return when an object was written, in seconds since 1970.

        Raises:
            FileNotFoundError: It is missing.
        """
        require_digest(digest)
        with self._reached():
            return self.folder.modified(digest)

    def temporaries(self) -> Iterator[Path]:
        """Yield what interrupted writing left behind, of objects and of keys."""
        yield from self.folder.temporaries()
        yield from self.keys.temporaries()

    def check(self, digest: str, length: int, *, read_data: bool = False) -> None:
        """Check an object: whether it is there, as long as it should be, and has its key.

        Args:
            digest: Its name.
            length: Plain bytes that were stored.
            read_data: Also read, authenticate and hash every byte.

        Raises:
            ObjectError: Names what is wrong.
        """
        size = self.size(digest)
        try:
            found = len(self.get(digest)) if read_data or size is None else self._length(digest, length, size)
        except ObjectError as error:
            if error.fault == "altered" and size is not None and size < length:
                detail = f"{size} bytes are there, {length} were stored"
                raise altered(digest, detail, truncated=True) from error
            raise
        if found != length:
            raise ObjectError(f"object {digest} has {found} bytes, not {length} as recorded", fault="other size")

    def destroy(self, digest: str) -> None:
        """Destroy an object for good: its key first, then its bytes.

        Every step is durable before the next; done again after a crash, it finishes what was begun.

        Raises:
            LedgerError: Something could not be overwritten or removed.
        """
        require_digest(digest)
        self.keys.destroy(digest)
        try:
            if self.folder.size(digest) is not None and not self.is_encrypted(digest):
                self.folder.overwrite(digest)
            self.folder.remove(digest)
        except OSError as error:
            raise LedgerError(
                f"cannot remove object {digest} from {self.folder}: {error.strerror}; its key is destroyed",
                "check permissions, then run the same command again",
            ) from error

    def remove(self, digest: str) -> None:
        """Remove an object that nothing refers to, then its key.

        Raises:
            LedgerError: Something could not be removed.
        """
        require_digest(digest)
        try:
            self.folder.remove(digest)
        except OSError as error:
            raise LedgerError(f"cannot remove object {digest} from {self.folder}: {error.strerror}") from error
        self.keys.destroy(digest)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            raise LedgerError(
                f"cannot reach {self.folder}: {error.strerror}", "check address, credentials and endpoint"
            ) from error

    def _read(self, file: BinaryIO, digest: str) -> bytes:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if file.read(len(MAGIC)) != MAGIC:
            return _plain(file, digest, size)
        key = self.keys.read(digest)
        if key is None:
            raise self._keyless(digest)
        file.seek(0)
        return decrypt(key, digest, file, size)

    def _length(self, digest: str, length: int, size: int) -> int:
        """Return an object's plain bytes, reading it only if its file has not the size that belongs to ``length``."""
        encrypted = self.is_encrypted(digest)
        if size != (stored_size(length) if encrypted else length):
            return len(self.get(digest))
        if encrypted and self.keys.read(digest) is None:
            raise self._keyless(digest)
        return length

    def _forbidden(self, digest: str, error: OSError) -> AccessError:
        hint = ownership_hint(Path(error.filename)) if error.filename else "check permissions"
        return AccessError(f"object {digest} cannot be read: {error.strerror}", hint)

    def _keyless(self, digest: str) -> ObjectError:
        return ObjectError(
            f"the key of object {digest} is missing from {self.keys.folder}",
            "restore it from a backup of the keys; if it was destroyed on purpose, the object is gone for good",
            fault="key missing",
        )

    def _intact(self, digest: str, key: bytes) -> bool:
        if self.folder.size(digest) is None:
            return False
        with self.folder.open(digest) as file:
            return _matches(file, key=key, digest=digest)


def _matches(file: BinaryIO, *, key: bytes, digest: str) -> bool:
    """Return whether an opened file is this object, encrypted under this key."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        return False
    file.seek(0)
    try:
        decrypt(key, digest, file, size)
    except ObjectError:
        return False
    return True


def _plain(file: BinaryIO, digest: str, size: int) -> bytes:
    """Return the bytes of an object that was stored unencrypted."""
    # Hashed once without keeping anything: a forged file of any size takes no memory.
    file.seek(0)
    actual = _hash(file)
    if actual != digest:
        raise altered(digest, f"its bytes hash to {actual}", truncated=size < HEADER)
    file.seek(0)
    data = file.read(size)
    if hashlib.sha256(data).hexdigest() != digest:
        raise altered(digest, "its bytes changed while they were read")
    return data


def _hash(file: BinaryIO) -> str:
    seen = hashlib.sha256()
    while piece := file.read(CHUNK):
        seen.update(piece)
    return seen.hexdigest()


def open_objects(config: Config) -> ObjectStore:
    """Return a ledger's object store."""
    return ObjectStore(config.store if config.store_is_url else config.store_path, config.keys_path / "objects")
