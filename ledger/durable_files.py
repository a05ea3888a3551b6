"""Files that are whole or absent: written beside their place, flushed, checked, and only then given their name.

Writing order: exclusive temporary file in the same directory, write, flush to disk, check what was written,
link under the final name without replacing, flush the directory. A crash at any point leaves at most a
temporary file, never half a file under a final name.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from ledger.errors import ObjectError

TEMPORARY = ".partial-"
"""What names of temporary files begin with."""
Check = Callable[[BinaryIO], bool]
"""Says whether an opened file holds what it should."""


def open_regular(path: Path, flags: int = os.O_RDONLY) -> BinaryIO:
    """Open a regular file without following a link, and without waiting for a pipe's other end.

    Raises:
        FileNotFoundError: There is nothing.
        OSError: It is a link, a folder, a pipe, a device, or cannot be opened.
    """
    # Not through a link: only a regular file that we wrote can be ours.
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb" if flags == os.O_RDONLY else "r+b")


def is_regular(path: Path) -> bool:
    """Return whether there is a regular file; a link to one is none."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def write_file(target: Path, content: Iterable[bytes], *, mode: int, check: Check, replace: bool = False) -> None:
    """Write a file durably; one that is there already and passes the check is kept.

    Args:
        target: Its final place, in a folder that exists.
        content: Its bytes in pieces.
        mode: Its permissions.
        check: Asked about what was written, and about what is there already: what fails is replaced.
        replace: Replace what is there without asking.

    Raises:
        OSError: It cannot be written. Nothing is left behind.
        ObjectError: What was read back fails the check.
    """
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in content:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if not passes(temporary, check):
            raise ObjectError(f"the disk under {target.parent} returned other bytes than were written")
        temporary.chmod(mode)
        if replace or (os.path.lexists(target) and not passes(target, check)):
            temporary.replace(target)
        else:
            _link(temporary, target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def passes(path: Path, check: Check) -> bool:
    """Return whether there is a regular file that passes a check."""
    if not is_regular(path):
        return False
    with open_regular(path) as file:
        return check(file)


def _link(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)
    except FileExistsError:
        pass  # somebody wrote the same meanwhile
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        temporary.replace(target)  # a file system without hard links


def overwrite_file(path: Path) -> None:
    """Overwrite a regular file's bytes on disk, for a file that is about to go for good; a missing one is fine.

    Copies elsewhere (backups, snapshots, worn blocks of a flash disk) are beyond reach.
    """
    try:
        if is_regular(path):
            path.chmod(0o600)
            with open_regular(path, os.O_RDWR) as file:
                left = os.fstat(file.fileno()).st_size
                while left > 0:
                    left -= file.write(os.urandom(min(left, 2**20)))
                file.flush()
                os.fsync(file.fileno())
    except FileNotFoundError:
        return


def remove_file(path: Path) -> None:
    """Remove a file and make that durable; a missing one is fine."""
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        # Also where it was gone already: whoever removed it may have died before this.
        sync_folder(path.parent)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Create a folder durably, with those above it."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(mode=mode, exist_ok=True)
        sync_folder(folder.parent)


def reason(error: OSError) -> str:
    """Say in a few words why something cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "no space left" if full else error.strerror or type(error).__name__


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
