"""Write files and folders whole or not at all: beside their place first, flushed, checked, and only then renamed.

Writing order: exclusive temporary file in the same directory, write, flush to disk, check what was written,
link under the final name without replacing, flush the directory. A crash at any point leaves at most a
temporary file, never half a file under a final name.
"""

import errno
import os
import pwd
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from ledger.domain.command_lines import quoted
from ledger.errors import ObjectError

TEMPORARY = ".partial-"
"""How the names of temporary files begin."""
Check = Callable[[BinaryIO], bool]
"""Returns whether an opened file holds what it should."""


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
    """Return whether there is a regular file; a link to one does not count."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


class Existing(Enum):
    """What to do with something that has the name of a file to be written."""

    REFUSE = "refuse"
    """Raise ``FileExistsError``."""
    REPLACE = "replace"
    """Replace it all at once; a file written without a ``mode`` gets the permissions of the one it replaces."""
    KEEP = "keep"
    """Keep it if it passes the check; else replace it."""


def _anything(_file: BinaryIO) -> bool:
    return True


def write_file(
    target: Path,
    content: Iterable[bytes],
    *,
    existing: Existing = Existing.REFUSE,
    mode: int | None = None,
    check: Check = _anything,
) -> None:
    """Write a file durably, whole or not at all.

    Args:
        target: Its final place, in a folder that exists.
        content: Its bytes in pieces.
        existing: What to do if there is something of that name.
        mode: Its permissions; None for what the process's umask allows.
        check: Asked about what was written, and with ``KEEP`` about what is there already.

    Raises:
        FileExistsError: There is something of that name, and it is refused.
        OSError: It cannot be written. Nothing is left behind.
        ObjectError: What was read back fails the check.
    """
    if existing is Existing.REFUSE:
        _require_absent(target)
    elif existing is Existing.REPLACE and mode is None and is_regular(target):
        mode = stat.S_IMODE(target.stat().st_mode)
    temporary = target.with_name(TEMPORARY + secrets.token_hex(6))
    try:
        # Nobody else may read it before it has its final permissions.
        with _create(temporary, 0o666 if mode is None else 0o600) as file:
            for piece in content:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if not passes(temporary, check):
            raise ObjectError(f"the disk under {target.parent} returned other bytes than were written")
        if mode is not None:
            temporary.chmod(mode)
        if existing is Existing.REPLACE or (
            existing is Existing.KEEP and os.path.lexists(target) and not passes(target, check)
        ):
            temporary.replace(target)
        else:
            _link(temporary, target, existing)
        sync_folder(target.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files durably: all of them appear under their final names, or none.

    A folder that is there and empty is filled and keeps its permissions; in that case alone a crash between two renames
    can leave some of the files.

    Args:
        target: Its final place; folders above it are created.
        files: Contents by file name.

    Raises:
        FileExistsError: There is something of that name other than an empty folder.
        OSError: It cannot be written. Nothing is left under the final name.
    """
    # Through links: what they lead to is filled.
    target = target.resolve()
    filled = os.path.lexists(target)
    if filled and not is_vacant(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    make_folder(target.parent)
    temporary = (target if filled else target.parent) / (TEMPORARY + secrets.token_hex(6))
    try:
        temporary.mkdir()
        for name, data in files.items():
            write_file(temporary / name, [data])
        if filled:
            _move_into(target, temporary, files)
        else:
            temporary.rename(target)
        sync_folder(target if filled else target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_vacant(folder: Path) -> bool:
    """Return whether this is a folder that holds nothing but what interrupted writing left."""
    return folder.is_dir() and all(path.name.startswith(TEMPORARY) for path in folder.iterdir())


def _move_into(folder: Path, source: Path, names: Iterable[str]) -> None:
    moved: list[Path] = []
    try:
        for name in names:
            (source / name).rename(folder / name)
            moved.append(folder / name)
    except OSError:
        for path in moved:
            path.unlink(missing_ok=True)
        raise


def _create(path: Path, mode: int) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")


def _require_absent(target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def passes(path: Path, check: Check) -> bool:
    """Return whether there is a regular file that passes a check."""
    if not is_regular(path):
        return False
    with open_regular(path) as file:
        return check(file)


def _link(temporary: Path, target: Path, existing: Existing) -> None:
    try:
        os.link(temporary, target)
    except FileExistsError:
        # Somebody wrote it meanwhile: with KEEP, the same.
        if existing is Existing.REFUSE:
            raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        # A file system without hard links.
        if existing is Existing.REFUSE:
            _require_absent(target)
        temporary.replace(target)


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


def try_writing(folder: Path) -> None:
    """Write a file into a folder, read it back and remove it; where there is no such folder yet, into the one above.

    Raises:
        OSError: The folder cannot be written, whatever its permissions say.
    """
    while not folder.is_dir():
        folder = folder.parent
    probe = folder / (TEMPORARY + secrets.token_hex(6))
    write_file(probe, [b"probe"], mode=0o600, check=lambda file: file.read() == b"probe")
    remove_file(probe)


def reason(error: OSError) -> str:
    """Say in a few words why something cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "no space left" if full else error.strerror or type(error).__name__


def sync_file(path: Path) -> None:
    """Flush a regular file's bytes to disk, where something else than this module wrote them."""
    with open_regular(path, os.O_RDWR) as file:
        os.fsync(file.fileno())


def ownership_hint(path: Path) -> str:
    """Say whose a file is that cannot be read, and how to make it ours; empty where it is ours or cannot be told."""
    mine = os.geteuid()
    while (owner := _owner(path)) is None and path != path.parent:
        path = path.parent
    if owner is None:
        return ""
    if owner == mine:
        return f"see: ls -ld {quoted(str(path))}"
    return f"it belongs to {_account(owner)}; to make it yours: sudo chown -R {_account(mine)} {quoted(str(path))}"


def _owner(path: Path) -> int | None:
    """Return whose a file is; None if it is not there, or in a folder that is closed to us."""
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
