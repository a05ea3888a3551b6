"""Read files that a person named: regular files, with a limit, and one error for each way in which that can fail."""

import codecs
import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import NotFoundError, UsageError

MOST_BYTES = 16 * 2**20
"""Largest file that is read whole, in bytes, unless the caller says otherwise. Parsed, it can take thirty times as much
memory."""


def open_named(path: Path) -> io.BufferedReader:
    """Open a regular file for reading. A link to one is followed: the person named it.

    Anything else is refused without waiting: a pipe for its other end, a device for data without end.

    Raises:
        FileNotFoundError: There is no such file, or a link leads nowhere.
        OSError: It is not a regular file, or cannot be opened.
    """
    # Before it is opened: opening some devices has effects.
    _require_regular(path.stat())
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        # Again: another one may have its name by now.
        _require_regular(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


@contextmanager
def reading(path: Path, what: str = "file") -> Iterator[None]:
    """Turn what the operating system says when a file is opened or read into the ledger's own errors.

    Args:
        path: The file that the block reads.
        what: What to call it, e.g. ``weights file``.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It is there, but it cannot be read: it is a folder, a pipe or a device, permissions forbid it, or
            the disk fails.
    """
    try:
        yield
    except FileNotFoundError:
        raise NotFoundError(f"there is no {what} {path}", "check the path") from None
    except OSError as error:
        raise UsageError(
            f"cannot read {what} {path}: {error.strerror}", "name a file, and check its permissions"
        ) from error


def read_bytes(path: Path, what: str = "file", *, most: int = MOST_BYTES) -> bytes:
    """Return a file's contents.

    Args:
        path: The file.
        what: What to call it, e.g. ``labels file``.
        most: Largest size that is read, in bytes.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It is larger, or cannot be read.
    """
    with reading(path, what), open_named(path) as file:
        size = os.fstat(file.fileno()).st_size
        # Not by its size alone: somebody may be writing to it, and files of /proc say 0.
        data = b"" if size > most else file.read(most + 1)
    if max(size, len(data)) > most:
        raise UsageError(f"{what} {path} has more than {most:,} bytes", "check that it is the file you meant")
    return data


def read_text(path: Path, what: str = "file", *, most: int = MOST_BYTES) -> str:
    """Return a text file's contents, with line ends as Python has them and without a mark of byte order before it.

    Args:
        path: The file.
        what: What to call it, e.g. ``labels file``.
        most: Largest size that is read, in bytes.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It is larger, cannot be read, or is UTF-16 or UTF-32.
        UnicodeDecodeError: It is not text; the caller says what that means for a file of its kind.
    """
    return decode_text(read_bytes(path, what, most=most), f"{what} {path}")


def decode_text(data: bytes, name: str) -> str:
    """Return the text that a file holds, in UTF-8 whatever the locale says.

    Args:
        data: What the file holds.
        name: What to call it.

    Raises:
        UsageError: It is UTF-16 or UTF-32, as some editors and shells write, or begins as no text does.
        UnicodeDecodeError: It is not text.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _is_wide(data[:8]):
        raise UsageError(f"{name} is not in UTF-8 but, as it seems, in UTF-16", "save it again as UTF-8")
    if b"\0" in data[:8]:
        raise UsageError(f"{name} is not a text", "check that it is the file you meant")
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig").read()


def _is_wide(beginning: bytes) -> bool:
    """Return whether a file begins with two or four bytes a character, which weights and archives do not look like."""
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        text = beginning.decode(encoding, errors="replace")
        # What does not decode is this character, which is printable.
        plain = "\N{REPLACEMENT CHARACTER}" not in text[:-1]
        if b"\0" in beginning and plain and all(one.isprintable() or one.isspace() for one in text):
            return True
    return False
