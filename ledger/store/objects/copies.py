"""Copy stored objects as they are, encrypted, to another folder and back; each copy is authenticated."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ledger.errors import ObjectError

from .encryption import CHUNK, MAGIC, altered, decrypt
from .object_folder import Folder
from .object_store import ObjectStore


@dataclass(frozen=True)
class StoredForm:
    """An object's file."""

    size: int
    """Stored bytes."""
    sha256: str
    key: str | None
    """Fingerprint of the key that opens it; None if it is stored unencrypted."""


def fingerprint(key: bytes) -> str:
    """Return a name of a key that tells nothing of it: a digest of its 32 random bytes."""
    return hashlib.sha256(b"unledger key fingerprint\n" + key).hexdigest()


def key_fingerprint(store: ObjectStore, digest: str) -> str | None:
    """Return the fingerprint of an object's key, or None if it has none.

    Raises:
        ObjectError: The key is damaged.
    """
    key = store.keys.read(digest)
    return None if key is None else fingerprint(key)


def copy_object(store: ObjectStore, digest: str, length: int, target: Folder) -> StoredForm:
    """Copy an object's file, and check what the target then returns: genuine, and as long as was stored.

    Raises:
        ObjectError: The object or its key is missing, or not what was stored.
        OSError: The target cannot be written.
        LedgerError: The object store cannot be reached.
    """
    # Read in full first, so that what is wrong with the object is said of the object and not of its copy.
    store.check(digest, length, read_data=True)
    encrypted = store.is_encrypted(digest)
    key = store.keys.read(digest) if encrypted else None
    found: list[StoredForm] = []

    def genuine(file: BinaryIO) -> bool:
        form = _form(file, key)
        opens = _opens(file, digest, key, form.size)
        found[:] = [form] if opens else found
        return opens

    try:
        target.write(digest, stored_bytes(store.folder, digest), genuine)
    except FileNotFoundError:
        raise ObjectError(f"object {digest} went while it was copied", fault="missing") from None
    if not found:
        # Somebody else's copy, of whom the folder says nothing.
        with target.open(digest) as file:
            if not genuine(file):
                raise altered(digest, f"{target} returned other bytes than were written")
    return found[0]


def stored_bytes(folder: Folder, digest: str) -> Iterator[bytes]:
    """Yield an object's stored bytes, piece by piece."""
    with folder.open(digest) as file:
        while piece := file.read(CHUNK):
            yield piece


def _form(file: BinaryIO, key: bytes | None) -> StoredForm:
    seen = hashlib.sha256()
    file.seek(0)
    size = 0
    while piece := file.read(CHUNK):
        seen.update(piece)
        size += len(piece)
    return StoredForm(size, seen.hexdigest(), None if key is None else fingerprint(key))


def _opens(file: BinaryIO, digest: str, key: bytes | None, size: int) -> bool:
    # The magic is not among the encrypted bytes: it is what tells the two forms apart.
    encrypted = _begins_encrypted(file)
    file.seek(0)
    if key is None:
        return not encrypted and hashlib.sha256(file.read()).hexdigest() == digest
    if not encrypted:
        return False
    try:
        decrypt(key, digest, file, size)
    except ObjectError:
        return False
    return True


def _begins_encrypted(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(len(MAGIC)) == MAGIC
