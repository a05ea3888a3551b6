"""Where a backup lies: a folder, or a URL that fsspec knows. A few files, and a folder of objects."""

import fcntl
import os
import posixpath
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ledger.durable_files import (
    TEMPORARY,
    Existing,
    is_regular,
    make_folder,
    open_regular,
    overwrite_file,
    remove_file,
    write_file,
)
from ledger.errors import RetryLaterError
from ledger.store.objects.encryption import CHUNK
from ledger.store.objects.local_folder import LocalFolder
from ledger.store.objects.object_folder import Folder
from ledger.store.objects.remote_folder import RemoteFolder, open_remote, translated

OBJECTS = "objects"
LOCK = ".lock"


class Place(Protocol):
    """Where a backup lies.

    Methods raise ``FileNotFoundError`` for what is not there, and ``OSError`` for what cannot be read or written.
    """

    objects: Folder

    def names(self) -> list[str]:
        """Return the names of the files beside the objects, in order."""
        ...

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes, piece by piece."""
        ...

    def write(self, name: str, content: Iterable[bytes]) -> None:
        """Write or replace a file, whole or not at all."""
        ...

    def remove(self, name: str) -> None:
        """Overwrite and remove a file; a missing one is fine."""
        ...

    def lock(self) -> Any:
        """Return a context in which nobody else writes a backup here, as far as the place can tell."""
        ...


class LocalPlace:
    """A folder of this machine, for its owner alone.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects: Folder = LocalFolder(root / OBJECTS)

    def __str__(self) -> str:
        return str(self.root)

    def names(self) -> list[str]:
        """Return the names of the files beside the objects, in order."""
        inside = sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else []
        return [name for name in inside if name not in (OBJECTS, LOCK) and not name.startswith(TEMPORARY)]

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes, piece by piece."""
        with open_regular(self.root / name) as file:
            while piece := file.read(CHUNK):
                yield piece

    def write(self, name: str, content: Iterable[bytes]) -> None:
        """Write or replace a file, whole or not at all."""
        write_file(self.root / name, content, existing=Existing.REPLACE, mode=0o600)

    def remove(self, name: str) -> None:
        """Overwrite and remove a file; a missing one is fine."""
        if is_regular(self.root / name):
            overwrite_file(self.root / name)
            remove_file(self.root / name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other backups out of this folder, and remove what an interrupted one left.

        Raises:
            RetryLaterError: Another one is being written.
        """
        make_folder(self.root, mode=0o700)
        descriptor = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RetryLaterError(
                    f"another backup is being written to {self.root}", "wait until it is done"
                ) from None
            for left in (*self.root.glob(f"{TEMPORARY}*"), *self.objects.temporaries()):
                _remove_left_over(left)
            yield
        finally:
            os.close(descriptor)


def _remove_left_over(left: Path) -> None:
    for file in left.iterdir() if left.is_dir() else [left]:
        overwrite_file(file)
        remove_file(file)
    if left.is_dir():
        left.rmdir()


class RemotePlace:
    """A prefix behind a URL. Whoever writes there must see to it that only one backup is written at a time.

    Args:
        url: As fsspec knows it.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._files, self._root = open_remote(self.url)
        self.objects: Folder = RemoteFolder(f"{self.url}/{OBJECTS}")

    def __str__(self) -> str:
        return self.url

    def names(self) -> list[str]:
        """Return the names of the files beside the objects, in order."""
        try:
            found = translated(lambda: self._files.ls(self._root, detail=False))
        except FileNotFoundError:
            return []
        return sorted(name for name in map(posixpath.basename, found) if name not in ("", OBJECTS))

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes, piece by piece."""
        with translated(lambda: self._files.open(self._path(name), "rb")) as file:
            while piece := translated(lambda: file.read(CHUNK)):
                yield piece

    def write(self, name: str, content: Iterable[bytes]) -> None:
        """Write or replace a file, whole or not at all."""
        data = b"".join(content)
        translated(lambda: self._files.pipe_file(self._path(name), data))

    def remove(self, name: str) -> None:
        """Remove a file; a missing one is fine."""
        try:
            translated(lambda: self._files.rm_file(self._path(name)))
        except FileNotFoundError:
            return

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Do nothing: an object store has no locks."""
        yield

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def open_place(where: str) -> Place:
    """Return the place that a person named: a URL if it has ``://`` in it, else a folder."""
    return RemotePlace(where) if "://" in where else LocalPlace(Path(where))
