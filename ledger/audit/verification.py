"""Verify a whole log in one pass: its chain, its Merkle tree, and what was recorded of it elsewhere.

Entries come in pages, so a log of any length is verified in constant memory. The pass stops at the first entry that is
not proven and names it as exactly as the evidence allows:

- a broken chain, a recorded head or digest: the entry itself;
- a recorded checkpoint: the first entry after the last checkpoint that did match, since one root covers them all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.digest import read_json
from ledger.errors import AuditError

from .chain import GENESIS, Entry, Head, verify_entry
from .merkle import EMPTY_ROOT, Frontier, leaf_hash
from .signed_notes import Checkpoint
from .tree_builder import TreeBuilder

RESTORE_HINT = "restore the database from a backup that reaches that far"


@dataclass(frozen=True)
class ExternalRecord:
    """What is known of a log from outside it, kept where the log's writers cannot change it."""

    heads: tuple[Head, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    """Signed tree heads; whoever read them has verified their signatures."""
    digests: tuple[str, ...] = ()
    """Digest of every entry from the first on, as far as a witness file reaches; hexadecimal."""

    def __or__(self, other: "ExternalRecord") -> "ExternalRecord":
        """Return the union of two records; of the two lists of digests, the longer."""
        digests = max(self.digests, other.digests, key=len)
        return ExternalRecord(self.heads + other.heads, self.checkpoints + other.checkpoints, digests)


class LogVerification:
    """One pass over a log, page by page.

    Args:
        kept: What the log must agree with.
        subtrees: Stored hashes of complete subtrees, hexadecimal, by level and position; None if none are stored.
        start: Head and Merkle tree of entries that were verified before: checkpoints up to there count as compared,
            and no other record may reach back behind it. None to begin with the first entry.

    Raises:
        AuditError: A recorded checkpoint of an empty log does not have the root of an empty tree.
    """

    def __init__(
        self,
        kept: ExternalRecord | None = None,
        subtrees: Mapping[tuple[int, int], str] | None = None,
        *,
        start: tuple[Head, Frontier] | None = None,
    ) -> None:
        self.head, frontier = start or (Head(0, GENESIS), Frontier())
        self._kept = kept or ExternalRecord()
        self._heads = {head.size: head for head in self._kept.heads if head.size}
        due = [one for one in self._kept.checkpoints if start is None or one.size > self.head.size]
        self._due = sorted(due, key=lambda checkpoint: checkpoint.size)
        self._subtrees = None if subtrees is None else dict(subtrees)
        self._tree = TreeBuilder(frontier)
        self._proven = self.head.size
        self._grow([])

    @property
    def frontier(self) -> Frontier:
        """The Merkle tree over all entries so far."""
        return self._tree.frontier

    def verify_page(self, entries: Sequence[tuple[int, str, str]]) -> list[dict[str, Any]]:
        """Verify the next entries (:class:`ledger.audit.chain.Entry`) and return their events.

        Raises:
            AuditError: At the first entry that is not proven; ``seq`` names it.
        """
        events, leaves = [], []
        size, previous = self.head.size, self.head.digest
        watched = bool(self._heads or self._kept.digests)
        problem = None
        for seq, leaf, digest in entries:
            size += 1
            hashed = leaf_hash(leaf.encode())
            try:
                # The short way for a sound entry; for any other, verify_entry says what is wrong.
                event = read_json(leaf) if seq == size and hashed.hex() == digest else None
                if not event or event["seq"] != size or event["previous"] != previous:
                    raise ValueError(leaf)
            except (ValueError, LookupError, TypeError):
                problem = _problem(Entry(seq, leaf, digest), size, previous)
                break
            if watched and (problem := self._difference(seq, digest)) is not None:
                break
            events.append(event)
            leaves.append(hashed)
            previous = digest
        # Entries before a broken link may be wrong too, which a checkpoint can show.
        self._grow(leaves)
        if problem is not None:
            raise problem
        self.head = Head(size, previous)
        return events

    def finish(self) -> Head:
        """Return the log's head once everything recorded elsewhere is found in it.

        Raises:
            AuditError: The log's end is missing, or subtrees are stored over entries that do not exist.
        """
        size = self.head.size
        heads = [head.size for head in self._kept.heads]
        reach = max([0, *heads, *(checkpoint.size for checkpoint in self._due), len(self._kept.digests)])
        if reach > size:
            what = "head" if reach in heads else "witness" if reach == len(self._kept.digests) else "checkpoint"
            raise AuditError(
                f"history ends at entry {size}, the {what} kept elsewhere is entry {reach}: its end is missing",
                RESTORE_HINT,
                seq=size + 1,
            )
        if self._subtrees:
            raise AuditError("the stored hash tree reaches beyond the last entry", seq=size + 1)
        return self.head

    def _difference(self, seq: int, digest: str) -> AuditError | None:
        """Return how an entry differs from what was recorded of it elsewhere; None if it does not."""
        if seq <= len(self._kept.digests) and self._kept.digests[seq - 1] != digest:
            return AuditError(f"entry {seq} is not the one that the witness saw: history was rewritten", seq=seq)
        if seq in self._heads and self._heads[seq].digest != digest:
            return AuditError(f"entry {seq} differs from the head kept elsewhere: history was rewritten", seq=seq)
        return None

    def _grow(self, leaves: Sequence[bytes]) -> None:
        """Append leaf hashes to the tree and compare its root at each size that a checkpoint covers."""
        start = 0
        while self._due and self._due[0].size <= self._tree.size + len(leaves) - start:
            checkpoint = self._due.pop(0)
            stop = start + checkpoint.size - self._tree.size
            self._extend(leaves[start:stop])
            start = stop
            self._compare_root(checkpoint)
        self._extend(leaves[start:])

    def _extend(self, leaves: Sequence[bytes]) -> None:
        for level, position, node in self._tree.extend(leaves):
            if self._subtrees is not None and self._subtrees.pop((level, position), None) != node.hex():
                first = (position << level) + 1
                raise AuditError(
                    f"the stored hash over entries {first} to {(position + 1) << level} is not theirs", seq=first
                )

    def _compare_root(self, checkpoint: Checkpoint) -> None:
        root = self._tree.frontier.root if checkpoint.size else EMPTY_ROOT
        if root != checkpoint.root:
            first, last = self._proven + 1, checkpoint.size
            where = f"entry {first}" if first >= last else f"one of the entries {first} to {last}"
            raise AuditError(
                f"the checkpoint of {last} entries is not one of this history: {where} was rewritten", seq=first
            )
        self._proven = checkpoint.size


def _problem(entry: Entry, expected: int, previous: str) -> AuditError:
    try:
        verify_entry(entry, expected, previous)
    except AuditError as error:
        return error
    raise AssertionError("an entry that holds was taken for one that does not")
