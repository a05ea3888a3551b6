"""Check a whole history in one pass: chain, hash tree, and everything that somebody kept of it from before.

The pass takes pages of entries, so a history of any length is checked in constant memory. It stops at the first entry
that is not proven. What names that entry how exactly:

- a broken chain, a kept leaf digest: the entry itself;
- a kept checkpoint: the first entry after the last checkpoint that did fit, since one root covers them all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ledger.digest import read_json
from ledger.errors import AuditError

from .chain import GENESIS, LEAF_PREFIX, Entry, Head, check
from .growth import Growth
from .merkle import EMPTY_ROOT, Frontier
from .signed_notes import Checkpoint

BACKUP = "restore the database from a backup that reaches that far"


@dataclass(frozen=True)
class Kept:
    """What somebody kept of a history, somewhere its writers cannot reach."""

    heads: tuple[Head, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    """With their signatures checked by whoever read them."""
    digests: tuple[str, ...] = ()
    """Digest of every entry from the first on, as far as a witness file reaches."""

    def __or__(self, other: "Kept") -> "Kept":
        """Return both together; of two lists of digests, the longer."""
        digests = max(self.digests, other.digests, key=len)
        return Kept(self.heads + other.heads, self.checkpoints + other.checkpoints, digests)


class HistoryCheck:
    """One pass over a history, page by page.

    Args:
        kept: What the history must agree with.
        subtrees: The stored hashes of complete subtrees by level and position; None where none are stored.

    Raises:
        AuditError: A kept checkpoint of no entries has another root than a tree without leaves.
    """

    def __init__(self, kept: Kept | None = None, subtrees: Mapping[tuple[int, int], str] | None = None) -> None:
        self.head = Head(0, GENESIS)
        self._kept = kept or Kept()
        self._heads = {head.size: head for head in self._kept.heads if head.size}
        self._due = sorted(self._kept.checkpoints, key=lambda checkpoint: checkpoint.size)
        self._subtrees = None if subtrees is None else dict(subtrees)
        self._growth = Growth()
        self._proven = 0
        self._grow([])

    @property
    def frontier(self) -> Frontier:
        """The hash tree over all entries so far."""
        return self._growth.frontier

    def page(self, entries: Sequence[tuple[int, str, str]]) -> list[dict[str, Any]]:
        """Check the next entries (:class:`ledger.audit.chain.Entry`) and return their events.

        Raises:
            AuditError: At the first entry that is not proven; ``seq`` names it.
        """
        events, leaves = [], []
        size, previous = self.head.size, self.head.digest
        watched = bool(self._heads or self._kept.digests)
        problem = None
        for seq, leaf, digest in entries:
            size += 1
            hashed = sha256(LEAF_PREFIX + leaf.encode())
            try:
                # Of a sound entry all of this is so; of any other, check says what is wrong.
                event = read_json(leaf) if seq == size and hashed.hexdigest() == digest else None
                if not event or event["seq"] != size or event["previous"] != previous:
                    raise ValueError(leaf)
            except (ValueError, LookupError, TypeError):
                problem = _problem(Entry(seq, leaf, digest), size, previous)
                break
            if watched and (problem := self._difference(seq, digest)) is not None:
                break
            events.append(event)
            leaves.append(hashed.digest())
            previous = digest
        # What stands before a broken link may be wrong too: a checkpoint can tell.
        self._grow(leaves)
        if problem is not None:
            raise problem
        self.head = Head(size, previous)
        return events

    def finish(self) -> Head:
        """Return where the history ends, once nothing that was kept reaches further.

        Raises:
            AuditError: The end is missing, or subtrees are stored of entries that are not there.
        """
        size = self.head.size
        heads = [head.size for head in self._kept.heads]
        reach = max([0, *heads, *(checkpoint.size for checkpoint in self._due), len(self._kept.digests)])
        if reach > size:
            what = "head" if reach in heads else "witness" if reach == len(self._kept.digests) else "checkpoint"
            raise AuditError(
                f"history ends at entry {size}, the {what} kept elsewhere is entry {reach}: its end is missing",
                BACKUP,
                seq=size + 1,
            )
        if self._subtrees:
            raise AuditError("the stored hash tree reaches beyond the last entry", seq=size + 1)
        return self.head

    def _difference(self, seq: int, digest: str) -> AuditError | None:
        """Return how an entry differs from what was kept of it."""
        if seq <= len(self._kept.digests) and self._kept.digests[seq - 1] != digest:
            return AuditError(f"entry {seq} is not the one that the witness saw: history was rewritten", seq=seq)
        if seq in self._heads and self._heads[seq].digest != digest:
            return AuditError(f"entry {seq} differs from the head kept elsewhere: history was rewritten", seq=seq)
        return None

    def _grow(self, leaves: Sequence[bytes]) -> None:
        """Fold leaf hashes into the tree, stopping at each size that a checkpoint speaks of."""
        start = 0
        while self._due and self._due[0].size <= self._growth.size + len(leaves) - start:
            checkpoint = self._due.pop(0)
            stop = start + checkpoint.size - self._growth.size
            self._extend(leaves[start:stop])
            start = stop
            self._compare_root(checkpoint)
        self._extend(leaves[start:])

    def _extend(self, leaves: Sequence[bytes]) -> None:
        for level, position, node in self._growth.extend(leaves):
            if self._subtrees is not None and self._subtrees.pop((level, position), None) != node.hex():
                first = (position << level) + 1
                raise AuditError(
                    f"the stored hash over entries {first} to {(position + 1) << level} is not theirs", seq=first
                )

    def _compare_root(self, checkpoint: Checkpoint) -> None:
        root = self._growth.frontier.root if checkpoint.size else EMPTY_ROOT
        if root != checkpoint.root:
            first, last = self._proven + 1, checkpoint.size
            where = f"entry {first}" if first >= last else f"one of the entries {first} to {last}"
            raise AuditError(
                f"the checkpoint of {last} entries is not one of this history: {where} was rewritten", seq=first
            )
        self._proven = checkpoint.size


def _problem(entry: Entry, expected: int, previous: str) -> AuditError:
    try:
        check(entry, expected, previous)
    except AuditError as error:
        return error
    raise AssertionError("an entry that holds was taken for one that does not")
