"""Small files that are written once and never again: in a folder or behind a URL, beside each other under a prefix."""

from pathlib import Path
from typing import Any

from ledger.durable_files import Existing, make_folder, write_file

from .remote_folder import open_remote, translated

LONGEST = 16 * 2**20
"""Bytes read of one file at most."""


class NoteFolder:
    """A place for notes.

    Methods raise ``OSError`` where the place cannot be reached, read or written.

    Args:
        place: A local folder, created on the first write; or a URL that fsspec knows, such as ``s3://BUCKET/PREFIX``.
    """

    def __init__(self, place: Path | str) -> None:
        self.place = place

    def __str__(self) -> str:
        return str(self.place)

    def write(self, name: str, content: bytes) -> None:
        """Write a note whole or not at all; one that is there stays."""
        if isinstance(self.place, Path):
            make_folder(self.place)
            write_file(self.place / name, [content], existing=Existing.KEEP)
            return
        files, root = self._open()
        path = f"{root}/{name}"
        if not translated(lambda: files.exists(path)):
            translated(lambda: files.pipe_file(path, content))

    def names(self) -> list[str]:
        """Return the names of all notes in order; none where there is no such folder."""
        if isinstance(self.place, Path):
            return sorted(path.name for path in self.place.iterdir()) if self.place.exists() else []
        files, root = self._open()
        try:
            found = translated(lambda: files.ls(root, detail=False))
        except FileNotFoundError:
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def read(self, name: str) -> str:
        """Return a note.

        Raises:
            UnicodeDecodeError: It is not text.
        """
        if isinstance(self.place, Path):
            with (self.place / name).open("rb") as file:
                return file.read(LONGEST).decode()
        files, root = self._open()
        data: bytes = translated(lambda: files.cat_file(f"{root}/{name}", start=0, end=LONGEST))
        return data.decode()

    def _open(self) -> tuple[Any, str]:
        files, root = open_remote(str(self.place))
        return files, root
