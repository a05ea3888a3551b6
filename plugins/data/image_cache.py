"""Copies of image files that lie elsewhere, in a folder of bounded size; the least recently used go first.

It is a cache: where it cannot be read or written, files are fetched again, and nothing else is lost.
"""

import hashlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from threading import Lock

FOLDER = "image-copies"
"""Beside the file in which a ledger remembers digests."""
VARIABLE = "UNLEDGER_IMAGE_COPIES"
"""Environment variable: most megabytes of copies; 0 keeps none."""
MOST_MEGABYTES = 4096


def most_bytes() -> int:
    """Return how many bytes of copies may be kept: what the environment says, if it is a number."""
    said = os.environ.get(VARIABLE, "").strip()
    return (int(said) if said.isdecimal() else MOST_MEGABYTES) * 2**20


class ImageCache:
    """Copies of files, by what tells one content from another.

    Args:
        folder: Where they are kept, made when needed; None keeps none.
        most: Most bytes.
    """

    def __init__(self, folder: Path | None, most: int) -> None:
        self._folder = folder if most else None
        self._most = most
        self._lock = Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._total = 0
        if self._folder is not None:
            with suppress(OSError):
                found = sorted((one.stat().st_mtime, one.name, one.stat().st_size) for one in self._folder.iterdir())
                self._sizes = OrderedDict((name, size) for _, name, size in found)
                self._total = sum(self._sizes.values())

    def get(self, identity: str) -> bytes | None:
        """Return a copy, if there is one."""
        name = _name(identity)
        if self._folder is None or name not in self._sizes:
            return None
        path = self._folder / name
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        with self._lock, suppress(KeyError):
            self._sizes.move_to_end(name)
        # Its last bytes are a digest of the others: a power failure can leave a file of the right size without them.
        content, seal = data[: -hashlib.sha256().digest_size], data[-hashlib.sha256().digest_size :]
        return content if hashlib.sha256(content).digest() == seal else None

    def put(self, identity: str, content: bytes) -> None:
        """Keep a copy."""
        data = content + hashlib.sha256(content).digest()
        if self._folder is None or len(data) > self._most:
            return
        name = _name(identity)
        temporary = self._folder / f".{name}-{secrets.token_hex(4)}"
        try:
            # Images are their owner's alone.
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:  # noqa: PTH123
                file.write(data)
            temporary.replace(self._folder / name)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            return
        with self._lock:
            self._total += len(data) - self._sizes.pop(name, 0)
            self._sizes[name] = len(data)
            while self._total > self._most:
                self._drop(next(iter(self._sizes)))

    def keep_only(self, identities: Collection[str]) -> None:
        """Remove the copies of all other contents: what its owner deleted shall not live on here."""
        names = set(map(_name, identities))
        with self._lock:
            for name in [name for name in self._sizes if name not in names]:
                self._drop(name)

    def _drop(self, name: str) -> None:
        self._total -= self._sizes.pop(name)
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / name).unlink()


def _name(identity: str) -> str:
    return hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()
