"""Read files that a person named: one error, and so one exit code, for each way in which that can fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import NotFoundError, UsageError


@contextmanager
def reading(path: Path, what: str = "file") -> Iterator[None]:
    """Turn what the operating system says when a file is opened or read into the ledger's own errors.

    Args:
        path: The file that the block reads.
        what: What to call it, e.g. ``weights file``.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It is there, but it cannot be read: it is a folder, permissions forbid it, or the disk fails.
    """
    try:
        yield
    except FileNotFoundError:
        raise NotFoundError(f"there is no {what} {path}", "check the path") from None
    except OSError as error:
        raise UsageError(
            f"cannot read {what} {path}: {error.strerror}", "name a file, and check its permissions"
        ) from error


def read_bytes(path: Path, what: str = "file") -> bytes:
    """Return a file's contents.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read.
    """
    with reading(path, what):
        return path.read_bytes()


def read_text(path: Path, what: str = "file") -> str:
    """Return a text file's contents.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read.
        UnicodeDecodeError: It is not text; the caller says what that means for a file of its kind.
    """
    with reading(path, what):
        return path.read_text()
