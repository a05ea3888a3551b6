"""Objects as files of a local folder, spread over 256 subfolders, each whole or absent."""

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ledger.durable_files import (
    TEMPORARY,
    Check,
    Existing,
    is_regular,
    make_folder,
    open_regular,
    overwrite_file,
    remove_file,
    sync_folder,
    try_writing,
    write_file,
)

from .object_names import is_digest


class LocalFolder:
    """A folder of read-only files named by digests.

    Args:
        root: The folder; created on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def probe(self) -> None:
        """Look whether the folder can be used; one that is not there is made when it is first written to.

        Raises:
            ConnectionError: Something else is in its place, or this account may not use it.
        """
        if self.root.exists() and not (self.root.is_dir() and os.access(self.root, os.R_OK | os.W_OK | os.X_OK)):
            raise ConnectionError(errno.ENOTDIR, "it is no folder that this account may use")

    def try_writing(self) -> None:
        """Write a file and remove it."""
        try_writing(self.root)

    def open(self, digest: str) -> BinaryIO:
        """Open an object for reading; regular files only, never through a link."""
        return open_regular(self._path(digest))

    def write(self, digest: str, content: Iterable[bytes], check: Check) -> None:
        """Write an object durably, unless one that passes the check is there."""
        target = self._path(digest)
        make_folder(target.parent)
        write_file(target, content, existing=Existing.KEEP, mode=0o444, check=check)

    def settle(self, digest: str) -> None:
        """Flush the names of an object that is there, and of its subfolder."""
        sync_folder(self._path(digest).parent)
        sync_folder(self.root)

    def size(self, digest: str) -> int | None:
        """Return an object's bytes on disk, or None if there is no regular file."""
        path = self._path(digest)
        return path.lstat().st_size if is_regular(path) else None

    def modified(self, digest: str) -> float:
        """Return when an object was written, in seconds since 1970."""
        return self._path(digest).lstat().st_mtime

    def overwrite(self, digest: str) -> None:
        """Overwrite an object's bytes, which are about to go for good."""
        overwrite_file(self._path(digest))

    def remove(self, digest: str) -> None:
        """Remove an object durably; a missing one is fine."""
        remove_file(self._path(digest))

    def digests(self) -> Iterator[str]:
        """Yield the digests of everything here that is named like an object, in order."""
        for folder in self._subfolders():
            names = sorted(folder.name + path.name for path in folder.iterdir())
            yield from (name for name in names if is_digest(name))

    def temporaries(self) -> Iterator[Path]:
        """Yield what interrupted writing left behind."""
        for folder in self._subfolders():
            yield from sorted(folder.glob(f"{TEMPORARY}*"))

    def _subfolders(self) -> Iterator[Path]:
        inside = sorted(self.root.iterdir()) if self.root.is_dir() else []
        yield from (path for path in inside if len(path.name) == 2 and path.is_dir() and not path.is_symlink())

    def _path(self, digest: str) -> Path:
        return self.root / digest[:2] / digest[2:]
