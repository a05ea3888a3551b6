"""A snapshot of what the verified log amounts to, so that the next process replays only the entries behind it.

Why it may be believed: it is sealed with a key from the keys folder, so whoever can write the database alone can make
none, and it is used only for a log whose first entries are, byte for byte, those that it was made from, the columns
that they are looked up by included. These are all read again and hashed in one stream; what is saved is taking them
apart and taking them into account. So a changed, missing or inserted entry is found as before: the hash differs, the
snapshot is put aside, and the log is verified from its first entry. An older snapshot of the same ledger that somebody
puts back is no lie either: it is what the first entries amount to, or it fits no log.

The checkpoints that the log was compared with are part of it. One that it does not name is compared with the entries
before the snapshot is used.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ledger import __version__, domain
from ledger.audit.chain import Head
from ledger.audit.merkle import EMPTY_ROOT, Frontier
from ledger.audit.signed_notes import Checkpoint
from ledger.audit.tree_builder import TreeBuilder

from . import replayed as replaying
from .packed_rows import Key, PackedRows
from .replayed import Replayed

LEAST_ENTRIES = 256
"""Below so many new entries no snapshot is worth its file."""
NEW_PART = 16
"""A new snapshot is made when this part of the log is new: one in sixteen entries."""
HASH_BYTES = 32


class SnapshotPlace(Protocol):
    """Where one snapshot is kept, and sealed against everybody who has only the database."""

    def read(self) -> bytes | None:
        """Return what was written last; None if there is nothing, or nothing genuine."""

    def write(self, content: bytes) -> None:
        """Keep this in place of what was there; where that cannot be, do nothing."""


class Nowhere:
    """Keeps nothing."""

    def read(self) -> bytes | None:
        """Return None."""
        return None

    def write(self, content: bytes) -> None:
        """Do nothing."""


class EntryStream:
    """All entries of a log up to one of them, with the columns they are looked up by, as one hash; and leaf hashes."""

    def __init__(self) -> None:
        self._all = hashlib.sha256()
        self._leaves = bytearray()

    def add(self, entries: Sequence[tuple[str, str]]) -> None:
        """Add the next entries: the lines of each (:func:`ledger.store.audit.verification.lines_of`) and its digest.

        Raises:
            TypeError: One is no text.
            ValueError: A digest is not hexadecimal.
        """
        self._all.update("".join([lines for lines, _ in entries]).encode())
        self._leaves += bytes.fromhex("".join([digest for _, digest in entries]))

    @property
    def digest(self) -> bytes:
        """The SHA-256 over all of them."""
        return self._all.digest()

    def root(self, size: int) -> bytes:
        """Return the root of the Merkle tree over the first entries."""
        if size == 0:
            return EMPTY_ROOT
        tree = TreeBuilder()
        tree.extend([bytes(self._leaves[at : at + HASH_BYTES]) for at in range(0, size * HASH_BYTES, HASH_BYTES)])
        return tree.frontier.root


@dataclass(frozen=True)
class Snapshot:
    """What the first entries of a log amount to."""

    program: str
    """Says which code made it; other code may read entries otherwise."""
    size: int
    head: str
    """Digest of the last of the entries."""
    entries: bytes
    """What :attr:`EntryStream.digest` was."""
    peaks: tuple[bytes, ...]
    compared: frozenset[tuple[int, bytes]]
    """Size and root of the checkpoints that these entries were compared with."""
    rows: dict[str, list[tuple[Key, bytes]]]
    sent: list[tuple[Key, tuple[str, str, str | None]]]
    setups: list[tuple[Key, str]]
    unbound: list[tuple[str, Key]]

    @classmethod
    def of(
        cls,
        replayed: Replayed,
        head: Head,
        frontier: Frontier,
        stream: EntryStream,
        compared: frozenset[tuple[int, bytes]],
    ) -> "Snapshot":
        """Take a snapshot.

        Raises:
            ValueError: A row would come back as another value.
        """
        return cls(
            *(program(), head.size, head.digest, stream.digest, frontier.peaks, compared),
            rows={table: rows.pack() for table, rows in replayed.rows.items()},
            sent=list(replayed.sent.items()),
            setups=list(replayed.setups.items()),
            unbound=sorted(replayed.unbound, key=repr),
        )

    @classmethod
    def parse(cls, content: bytes) -> "Snapshot | None":
        """Return a snapshot; None for what this code did not write."""
        try:
            found = msgspec.msgpack.decode(content, type=cls)
        except (msgspec.MsgspecError, ValueError):
            return None
        return found if found.program == program() and found.rows.keys() == Replayed().rows.keys() else None

    def to_bytes(self) -> bytes:
        """Return the snapshot as a file holds it."""
        return msgspec.msgpack.encode(self)

    @property
    def end(self) -> Head:
        """The head of a log that ends with these entries."""
        return Head(self.size, self.head)

    @property
    def frontier(self) -> Frontier:
        """The Merkle tree over these entries."""
        return Frontier(self.size, self.peaks)

    def replayed(self) -> Replayed:
        """Return the rows."""
        rows = {table: PackedRows(found) for table, found in self.rows.items()}
        return Replayed(rows, dict(self.sent), dict(self.setups), set(self.unbound))

    def agrees_with(self, checkpoint: Checkpoint, stream: EntryStream) -> bool:
        """Whether a checkpoint of at most this size is one of these entries.

        Args:
            checkpoint: Its signature was verified.
            stream: The same entries, read again.
        """
        return (checkpoint.size, checkpoint.root) in self.compared or stream.root(checkpoint.size) == checkpoint.root


def worth_keeping(size: int, kept: int) -> bool:
    """Whether a log of this size has grown so much behind the last snapshot that a new one saves time."""
    return size - kept >= max(LEAST_ENTRIES, size // NEW_PART)


@cache
def program() -> str:
    """Return what names the code that reads entries: the release, and the digest of its source where there is one."""
    said = hashlib.sha256(__version__.encode())
    files: list[Any] = [replaying.__file__, *sorted((Path(domain.__file__).parent / "events").glob("*.py"))]
    for file in files:
        try:
            said.update(Path(file).read_bytes())
        except OSError:
            continue
    return said.hexdigest()
