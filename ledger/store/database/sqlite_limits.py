"""Where SQLite is safe to use: which versions, which journal modes, and which file systems."""

import os
import re
import sqlite3
from pathlib import Path

from ledger.errors import RefusedError, UsageError

OLDEST = (3, 35, 0)
"""``UPDATE ... RETURNING`` and ``DROP COLUMN`` came with this version."""
JOURNALS = ("truncate", "wal")
SAFE_WAL = (3, 51, 3)
"""Before it, several processes that write and checkpoint can corrupt a database in write-ahead mode
(sqlite.org/wal.html#walresetbug)."""
PATCHED_WAL = {(3, 50): 7, (3, 44): 6}
"""Older series that the repair was brought to, and the patch level it came with."""
URI = "file:"
MOUNTS = Path("/proc/self/mounts")
NETWORK = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
) | frozenset({"fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"})
"""File systems whose locks and flushes reach another machine, or nowhere: SQLite relies on both."""

Version = tuple[int, int, int]


def wal_is_safe(version: Version) -> bool:
    """Return whether this version of SQLite keeps a database whole in write-ahead mode."""
    return version >= SAFE_WAL or version[2] >= PATCHED_WAL.get(version[:2], 1 << 30)


def check_journal(journal: str, version: Version = sqlite3.sqlite_version_info) -> None:
    """Refuse a journal mode that this version of SQLite cannot be trusted with.

    Raises:
        UsageError: There is no such mode here, or SQLite is older than this package needs.
        RefusedError: Write-ahead mode, with a version that can corrupt a database in it.
    """
    text = ".".join(map(str, version))
    if version < OLDEST:
        raise UsageError(f"SQLite {text} is too old", f"version {'.'.join(map(str, OLDEST))} or later is needed")
    if journal not in JOURNALS:
        raise UsageError(f"journal_mode={journal} is not supported", f"one of: {', '.join(JOURNALS)}")
    if journal == "wal" and not wal_is_safe(version):
        raise RefusedError(
            f"SQLite {text} can corrupt a database in write-ahead mode when several processes use it",
            "leave out journal_mode=wal, or use SQLite 3.51.3, 3.50.7, 3.44.6 or later of their series",
        )


def check_file_system(database: str | None, mounts: str | None = None) -> None:
    """Refuse a database file on a network file system.

    Args:
        database: Path or ``file:`` address of the database; None or ``:memory:`` is on no file system.
        mounts: Contents of a mount table as in ``/proc/self/mounts``; None reads this machine's. Where there
            is none (other systems than Linux), nothing is checked.

    Raises:
        RefusedError: It lies on one.
    """
    if not database or database == ":memory:":
        return
    if mounts is None:
        if not MOUNTS.exists():
            return
        mounts = MOUNTS.read_text(errors="replace")
    # Only in a URI does a question mark end the path.
    named = database.removeprefix(URI).partition("?")[0] if database.startswith(URI) else database
    path = Path(os.path.realpath(named))
    kind = file_system(path, mounts)
    if kind in NETWORK:
        raise RefusedError(
            f"{path} lies on a network file system ({kind}), where SQLite's locks do not hold",
            "use a local disk, or PostgreSQL",
        )


def file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds an absolute path, or an empty text if no line of the table does."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # The table writes spaces and the like as three octal digits.
        place = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[1]))
        # Where two are mounted on one another, the later one covers the earlier.
        if path.is_relative_to(place) and len(place.parts) >= best:
            best, kind = len(place.parts), fields[2]
    return kind
