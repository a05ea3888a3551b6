"""Digests of image files that were read before, so that what has not changed is not read again.

A file is taken for unchanged while its path, size, times of modification and change and its inode are the same. The
time of change cannot be set by a program. A file that changed just before it was read is not remembered: a second
change within the resolution of the clock could not be seen.

It is a cache: where it cannot be read or written, everything is read again, and nothing else is lost. Who can write it
can make a changed image pass for an unchanged one, and could as well edit the database beside it.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from .image_listing import ImageFile

T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS folders (fingerprint BLOB PRIMARY KEY, folder BLOB NOT NULL, summary TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS folder_of ON folders (folder);
CREATE TABLE IF NOT EXISTS files (
    folder BLOB NOT NULL, name BLOB NOT NULL, state TEXT NOT NULL, digest BLOB NOT NULL, finding TEXT,
    PRIMARY KEY (folder, name)
) WITHOUT ROWID;
"""
RELEASE = 1
"""Number of this layout, and of the rules that findings follow: another one's file is begun anew."""
PATIENCE = 2.0
"""Seconds to wait for another process."""
SETTLED_NS = 2 * 10**9
"""Nanoseconds after its last change from which on a file is remembered."""


class FileContents(NamedTuple):
    """What is known of one file."""

    digest: bytes
    """SHA-256 of its bytes."""
    cause: str | None = None
    """Why it cannot be decoded; empty if it can, None if that was not tried."""
    traits: tuple[str, ...] = ()
    """What of the image is changed when it is decoded."""


class DigestCache:
    """The remembered digests of one ledger.

    Args:
        path: Its file, made when needed; None remembers nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._writable = True

    def folder(self, fingerprint: bytes) -> dict[str, Any] | None:
        """Return what was remembered of a folder whose files are all unchanged."""
        rows = self._ask("SELECT summary FROM folders WHERE fingerprint = ?", fingerprint)
        with suppress(ValueError, IndexError):
            summary = json.loads(rows[0][0])
            return summary if isinstance(summary, dict) else None
        return None

    def files(self, folder: str) -> dict[tuple[str, str], FileContents]:
        """Return what was remembered of each file of a folder, by its name and what tells whether it changed."""
        found = {}
        rows = self._ask("SELECT name, state, digest, finding FROM files WHERE folder = ?", os.fsencode(folder))
        with suppress(ValueError, TypeError):
            for name, state, digest, finding in rows:
                cause, traits = (None, ()) if finding is None else json.loads(finding)
                found[os.fsdecode(name), state] = FileContents(digest, cause, tuple(traits))
        return found

    def remember(
        self,
        folder: str,
        fingerprint: bytes | None,
        summary: Mapping[str, Any],
        files: Iterable[tuple[ImageFile, FileContents]],
    ) -> None:
        """Remember a folder and each of its files, in the place of what was known of it.

        Args:
            folder: The folder.
            fingerprint: What tells whether any of its files changed; None if not all of them are to be remembered.
            summary: What is known of the folder.
            files: The files to remember, each with what is known of it.
        """
        encoded = os.fsencode(folder)
        rows = [(encoded, os.fsencode(file.name), state(file), one.digest, _finding(one)) for file, one in files]

        def write(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM folders WHERE folder = ?", (encoded,))
            connection.execute("DELETE FROM files WHERE folder = ?", (encoded,))
            connection.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?)", rows)
            if fingerprint is not None:
                row = fingerprint, encoded, json.dumps(summary)
                connection.execute("INSERT INTO folders VALUES (?, ?, ?)", row)
            return True

        # Once it cannot be written, trying again for each folder only costs time.
        self._writable = self._writable and self._run(write) is True

    def close(self) -> None:
        """Let go of the file; it is opened again when needed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, query: str, value: bytes) -> list[Any]:
        return self._run(lambda connection: connection.execute(query, (value,)).fetchall()) or []

    def _run(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return what a transaction returns; None if the cache is of no use for it."""
        if self._path is None:
            return None
        try:
            if self._connection is None:
                self._connection = _open(self._path)
            with self._connection:
                return action(self._connection)
        except (sqlite3.Error, OSError) as error:
            self.close()
            if type(error) is sqlite3.DatabaseError:
                # Damaged: begun anew, since it is only a cache.
                with suppress(OSError):
                    self._path.unlink()
            return None


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        # Names of images are its owner's alone.
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    try:
        return _connect(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        # Damaged, or another release's: it is only a cache.
        path.unlink()
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(os.fspath(path), timeout=PATIENCE)
    try:
        # After a power failure it may be damaged, and is begun anew.
        connection.execute("PRAGMA synchronous = OFF")
        [(release,)] = connection.execute("PRAGMA user_version").fetchall()
        if release not in (0, RELEASE):
            raise sqlite3.DatabaseError("another release's cache")
        if not release:
            connection.executescript(SCHEMA + f"PRAGMA user_version = {RELEASE};")
    except BaseException:
        connection.close()
        raise
    return connection


def state(file: ImageFile) -> str:
    """Return what tells whether a file changed, as one text."""
    return f"{file.size} {file.modified_ns} {file.changed_ns} {file.number}"


def _finding(one: FileContents) -> str | None:
    return None if one.cause is None else json.dumps([one.cause, one.traits])
