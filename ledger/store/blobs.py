"""Content-addressed files: a blob's name is the SHA-256 of its bytes, so it can never change unnoticed.

Writing order: exclusive temporary file in the same directory, write, flush to disk, hash what was
written, link under its final name without replacing, flush the directory, read-only. A crash at any
point leaves at most a temporary file, never a wrong blob.
"""

import errno
import hashlib
import os
import tempfile
from pathlib import Path

from ledger.errors import BlobError, LedgerError

HEX = frozenset("0123456789abcdef")


class BlobStore:
    """Blobs in a local folder, spread over 256 subfolders.

    Args:
        root: The folder; created on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """Store bytes durably and return their digest; storing them again changes nothing.

        Raises:
            LedgerError: The disk is full or cannot be written. Nothing is left behind.
            BlobError: What was read back differs from what was written.
        """
        digest = hashlib.sha256(data).hexdigest()
        target = self._path(digest)
        try:
            if self._intact(target, digest):
                return digest
            if not target.parent.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                self._sync(self.root)
            self._write(target, data, digest)
        except OSError as error:
            reason = "no space left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
            raise LedgerError(
                f"cannot store an object in {self.root}: {reason}", "free some space or check permissions, then retry"
            ) from error
        return digest

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes, hashed before anybody sees them.

        Raises:
            BlobError: It is missing, truncated or altered.
        """
        path = self._path(digest)
        try:
            # Not through a link: only a regular file that we wrote can be a blob.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            with os.fdopen(descriptor, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            raise BlobError(f"object {digest} is missing from {self.root}", "restore it from a backup") from None
        except OSError as error:
            raise BlobError(f"object {digest} cannot be read: {error.strerror}") from error
        actual = hashlib.sha256(data).hexdigest()
        if actual != digest:
            raise BlobError(f"object {digest} was altered: its bytes hash to {actual}", "restore it from a backup")
        return data

    def __contains__(self, digest: str) -> bool:
        path = self._path(digest)
        return path.is_file() and not path.is_symlink()

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or set(digest) - HEX:
            raise BlobError(f"{digest!r} is not a SHA-256 digest")
        return self.root / digest[:2] / digest[2:]

    @classmethod
    def _intact(cls, path: Path, digest: str) -> bool:
        # A link is no blob, whatever it points at: readers refuse it.
        return path.is_file() and not path.is_symlink() and cls._matches(path, digest)

    @staticmethod
    def _matches(path: Path, digest: str) -> bool:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest

    def _write(self, target: Path, data: bytes, digest: str) -> None:
        descriptor, name = tempfile.mkstemp(prefix=".partial-", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if not self._matches(temporary, digest):
                raise BlobError(f"the disk under {self.root} returned other bytes than were written")
            temporary.chmod(0o444)
            if os.path.lexists(target) and not self._intact(target, digest):
                # An altered blob is replaced by its true bytes: the name promises them.
                temporary.replace(target)
            else:
                self._link(temporary, target)
            self._sync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)

    @staticmethod
    def _link(temporary: Path, target: Path) -> None:
        try:
            os.link(temporary, target)
        except FileExistsError:
            pass  # somebody stored the same bytes meanwhile
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            temporary.replace(target)  # a file system without hard links

    @staticmethod
    def _sync(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
