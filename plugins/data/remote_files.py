"""Image files behind a URL that fsspec knows: what there is, what tells whether one changed, and their bytes."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

from ledger.errors import DataError, TransientError

from .image_cache import ImageCache

T = TypeVar("T")
EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Extras of this package that bring a protocol's driver."""
STATES = ("ETag", "etag", "md5Hash", "content_md5", "version_id", "ino", "mtime", "created")
"""What drivers say that changes with the content of a file; the first that is there counts."""
MOMENTS = ("LastModified", "last_modified", "mtime", "created", "updated")
AT_ONCE = 64
"""Files that are fetched together."""


class RemoteFile(NamedTuple):
    """A file."""

    path: str
    size: int
    state: str
    """What tells whether it changed; empty if nobody does."""

    @property
    def number(self) -> int:
        """The same as a number."""
        return int.from_bytes(hashlib.sha256(self.state.encode()).digest()[:7], "big")

    @property
    def identity(self) -> str:
        """What a copy is kept under."""
        return f"{self.path}\n{self.size}\n{self.state}"


@dataclass
class RemoteFiles:
    """The files below a URL.

    Args:
        url: Protocol, bucket and prefix. Credentials and endpoints come from the driver's own settings.
        copies: Copies of files that were fetched before.
    """

    url: str
    copies: ImageCache
    root: str = field(init=False)

    def __post_init__(self) -> None:
        protocol = self.url.split("://", 1)[0]
        try:
            core = import_module("fsspec.core")
            options = {"use_listings_cache": False} if protocol in EXTRAS else {}
            self._files, root = core.url_to_fs(self.url, **options)
        except ImportError as error:
            extra = EXTRAS.get(protocol)
            hint = f"pip install 'unledger[{extra}]'" if extra else f"install what fsspec needs for {protocol}://"
            raise DataError(f"the driver of {protocol}:// is not installed: {error}", hint) from error
        except ValueError as error:
            raise DataError(f"{self.url} names no place of files: {error}", "e.g. folder:s3://BUCKET/PREFIX") from error
        self.root = root.rstrip("/")

    def listed(self) -> dict[str, RemoteFile]:
        """Return every file below the URL, by its path within.

        Raises:
            DataError: There is none.
            TransientError: It cannot be reached.
        """
        try:
            found: Mapping[str, Mapping[str, Any]] = _translated(lambda: self._files.find(self.root, detail=True))
        except FileNotFoundError:
            found = {}
        if not found:
            raise DataError(f"there are no files in {self.url}", "check bucket, prefix and credentials")
        return {
            path.removeprefix(self.root).lstrip("/"): RemoteFile(path, int(one.get("size") or 0), _state(one))
            for path, one in found.items()
        }

    def fetch(self, files: Sequence[RemoteFile]) -> list[bytes]:
        """Return the bytes of files, from copies where they are there.

        Raises:
            DataError: One is not there any more, or is another by now; names it.
            TransientError: They cannot be reached.
        """
        found = {one: self.copies.get(one.identity) if one.state else None for one in dict.fromkeys(files)}
        missing = [one for one, data in found.items() if data is None]
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            data_of = self._cat([one.path for one in part])
            for one in part:
                content = found[one] = _checked(one, data_of.get(one.path))
                if one.state:
                    self.copies.put(one.identity, content)
        return [data for one in files if (data := found[one]) is not None]

    def _cat(self, paths: list[str]) -> Mapping[str, object]:
        """Return the bytes of each file, or why they cannot be had."""
        fetched: object = _translated(lambda: self._files.cat(paths, on_error="return"))
        return fetched if isinstance(fetched, dict) else {paths[0]: fetched}


def _checked(file: RemoteFile, data: object) -> bytes:
    if isinstance(data, FileNotFoundError) or data is None:
        raise DataError(f"cannot read the image {file.path}: it is not there any more", "restore it, or leave it out")
    if isinstance(data, Exception):
        raise _away(data)
    if not isinstance(data, bytes) or len(data) != file.size:
        raise DataError(f"the image {file.path} changed while it was read", "run the same command again")
    return data


def _state(one: Mapping[str, Any]) -> str:
    told = [str(one[name]) for name in STATES if one.get(name)][:1]
    return " ".join([*told, *(str(one[name]) for name in MOMENTS if one.get(name))])


def _translated(call: Callable[[], T]) -> T:
    """Call a driver; drivers raise whatever their libraries do.

    Raises:
        FileNotFoundError: There is no such file.
        TransientError: Anything else: it says nothing about the images, only that we did not get to them.
    """
    try:
        return call()
    except FileNotFoundError:
        raise
    except Exception as error:
        raise _away(error) from error


def _away(error: Exception) -> TransientError:
    return TransientError(
        f"the images cannot be reached: {type(error).__name__}: {str(error)[:300]}",
        "see to the connection, the credentials and the endpoint, then run the same command again",
    )
