"""Objects behind a URL, through fsspec: ``s3://bucket/prefix`` and whatever else fsspec knows.

An object store writes an object whole or not at all, and does not return before it is safe; so there is no temporary
file here, and nothing to flush. What was written is read back and checked all the same. Two writers of the same object
write the same bytes, since they share its key.
"""

import errno
import io
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from ledger.durable_files import Check
from ledger.errors import LedgerError, ObjectError, UsageError

from .encryption import CHUNK
from .object_names import is_digest

T = TypeVar("T")
READ_AHEAD = 8 * 2**20
"""Bytes fetched at once: memory does not grow with the object."""
EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Extras of this package that bring a protocol's driver."""


class RemoteFolder:
    """A prefix in an object store.

    Args:
        url: Protocol, bucket and prefix. Credentials and endpoints come from the driver's own settings, for S3 the
            usual ``AWS_...`` variables and files; they do not belong into the ledger's configuration.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        # When first needed: most commands look at no object, and drivers take their time.
        return open_remote(self.url)

    @property
    def _files(self) -> Any:
        return self._opened[0]

    @property
    def _root(self) -> str:
        return self._opened[1]

    def probe(self) -> None:
        """Reach the store once.

        Raises:
            UsageError: fsspec does not know the protocol, or its driver is not installed.
            ConnectionError: It cannot be reached, or not with these credentials.
        """
        try:
            translated(lambda: self._files.ls(self._root))
        except FileNotFoundError:
            # No such prefix yet; whether there is such a bucket, writing will tell.
            return

    def try_writing(self) -> None:
        """Write an object and remove it."""
        path = f"{self._root}/.probe-{secrets.token_hex(6)}"
        translated(lambda: self._files.pipe_file(path, b"probe"))
        translated(lambda: self._files.rm_file(path))

    def __str__(self) -> str:
        return self.url

    def open(self, digest: str) -> BinaryIO:
        """Open an object for reading."""
        file = translated(lambda: self._files.open(self._path(digest), "rb", block_size=READ_AHEAD))
        return io.BufferedReader(_Reader(file), CHUNK)

    def write(self, digest: str, content: Iterable[bytes], check: Check) -> None:
        """Write an object and check what the store returns of it."""
        path, data = self._path(digest), b"".join(content)
        translated(lambda: self._files.pipe_file(path, data))
        with self.open(digest) as file:
            if not check(file):
                raise ObjectError(f"{self.url} returned other bytes than were written")

    def settle(self, digest: str) -> None:
        """Do nothing: what is there is durable."""

    def size(self, digest: str) -> int | None:
        """Return an object's stored bytes, or None if there is none."""
        try:
            info = translated(lambda: self._files.info(self._path(digest)))
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def modified(self, digest: str) -> float:
        """Return when an object was written, in seconds since 1970."""
        return float(translated(lambda: self._files.modified(self._path(digest))).timestamp())

    def overwrite(self, digest: str) -> None:
        """Do nothing: an object store keeps or drops old bytes as it likes."""

    def remove(self, digest: str) -> None:
        """Remove an object; a missing one is fine."""
        try:
            translated(lambda: self._files.rm_file(self._path(digest)))
        except FileNotFoundError:
            return

    def digests(self) -> Iterator[str]:
        """Yield the digests of everything that is named like an object, in order."""
        try:
            found = translated(lambda: self._files.find(self._root))
        except FileNotFoundError:
            return
        for path in sorted(found):
            name = "".join(path.rsplit("/", 2)[-2:])
            if is_digest(name) and path == self._path(name):
                yield name

    def temporaries(self) -> Iterator[Path]:
        """Yield nothing: objects are written whole."""
        return iter(())

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest[2:]}"


class _Reader(io.RawIOBase):
    """A driver's file whose failures are ``ConnectionError`` only.

    Args:
        file: Opened for reading.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go somewhere."""
        return translated(lambda: int(self._file.seek(offset, whence)))

    def tell(self) -> int:
        """Say where."""
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        """Read as much as fits."""
        data: bytes = translated(lambda: self._file.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the driver's file."""
        self._file.close()
        super().close()


def open_remote(url: str) -> tuple[Any, str]:
    """Return the driver of a URL, and the path that the URL names there.

    Raises:
        UsageError: fsspec does not know the protocol, or its driver is not installed.
        LedgerError: It cannot be reached.
    """
    protocol = url.split("://", 1)[0]
    # Imported here: a ledger with a local store does without.
    try:
        fsspec = import_module("fsspec")
        files, root = fsspec.core.url_to_fs(url, **_options(protocol))
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        hint = f"pip install 'unledger[{extra}]'" if extra else f"install what fsspec needs for {protocol}://"
        raise UsageError(f"the driver of {protocol}:// is not installed: {error}", hint) from error
    except ValueError as error:
        raise UsageError(f"{url} names no object store: {error}", "e.g. s3://BUCKET/PREFIX") from error
    except Exception as error:
        raise LedgerError(f"cannot reach {url}: {error}", "check credentials and endpoint") from error
    return files, root.rstrip("/")


def _options(protocol: str) -> dict[str, Any]:
    # Listings remembered by the driver would hide what other processes did.
    return {"use_listings_cache": False} if protocol in EXTRAS else {}


def translated(call: Callable[[], T]) -> T:
    """Call a driver; drivers raise whatever their libraries do.

    Raises:
        FileNotFoundError: There is no such object.
        ConnectionError: Anything else: it says nothing about the object, only that we did not get to it.
    """
    try:
        return call()
    except (FileNotFoundError, LedgerError):
        raise
    except Exception as error:
        raise ConnectionError(errno.EIO, f"{type(error).__name__}: {error}") from error
