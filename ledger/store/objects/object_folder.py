"""What an object store asks of the place where its files lie, be it a local folder or a bucket."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from ledger.durable_files import Check


class Folder(Protocol):
    """Where objects lie: files named by digests.

    Methods raise ``FileNotFoundError`` for what is not there, ``ConnectionError`` where the place was not reached, and
    ``OSError`` for what is there and cannot be read or written.
    """

    def probe(self) -> None:
        """Raise unless it can be reached."""
        ...

    def try_writing(self) -> None:
        """Write something and remove it; raise if that does not work."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """Open an object for reading; ``FileNotFoundError`` if it is missing."""
        ...

    def write(self, digest: str, content: Iterable[bytes], check: Check) -> None:
        """Write an object, unless one that passes the check is there."""
        ...

    def settle(self, digest: str) -> None:
        """Make an object that is there durable: whoever wrote it may have died before that was done."""
        ...

    def size(self, digest: str) -> int | None:
        """Return an object's stored bytes, or None if there is no such file."""
        ...

    def modified(self, digest: str) -> float:
        """Return when an object was written, in seconds since 1970."""
        ...

    def overwrite(self, digest: str) -> None:
        """Overwrite an object's bytes, where that means anything."""
        ...

    def remove(self, digest: str) -> None:
        """Remove an object; a missing one is fine."""
        ...

    def digests(self) -> Iterator[str]:
        """Yield the digests of everything that is named like an object."""
        ...

    def temporaries(self) -> Iterator[Path]:
        """Yield what interrupted writing left behind."""
        ...
