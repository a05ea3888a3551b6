"""What the verified audit log says every row must be, kept up to date entry by entry.

Rows are compared with it before anything rests on them (:mod:`~ledger.store.replay.trusted_rows`). The log is verified
on the way: its chain from the first entry on, and its root at the last checkpoint that was kept outside the database. A
process verifies each entry once, so a daemon pays for new entries only. A process that starts goes on from a
:mod:`snapshot <ledger.store.replay.snapshot>`, if the entries before it are those it was made of.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from ledger.audit.chain import Head
from ledger.audit.events import AuditEvent
from ledger.audit.verification import ExternalRecord, LogVerification
from ledger.errors import AuditError
from ledger.garbage_collection import paused
from ledger.store.audit.log import AuditLog
from ledger.store.audit.verification import ListedEntry, lines_of, require_listed

from .replayed import Replayed
from .snapshot import EntryStream, Nowhere, Snapshot, SnapshotPlace, worth_keeping


def nothing_kept(_log: AuditLog) -> ExternalRecord:
    """Return an empty record: nothing is known from outside."""
    return ExternalRecord()


class TrustedState:
    """Follows one ledger's audit log.

    Args:
        kept: Returns what is known of a log from outside the database; asked when the log is read from its start.
        place: Where snapshots are kept.
    """

    def __init__(
        self, kept: Callable[[AuditLog], ExternalRecord] = nothing_kept, place: SnapshotPlace | None = None
    ) -> None:
        self._kept = kept
        self._place = place or Nowhere()
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._walk: LogVerification | None = None
        self._stream = EntryStream()
        self._compared: frozenset[tuple[int, bytes]] = frozenset()
        self._counted: tuple[int, Counter[str]] = (0, Counter())
        """Number of entries, and requests by state after them."""
        self._snapshot = 0
        """Number of entries in the last snapshot that was read or written."""
        self.replayed = Replayed()

    def catch_up(self, log: AuditLog) -> Replayed:
        """Verify the entries that are new, and take them into account.

        Raises:
            AuditError: The log does not verify, or holds an entry that makes no sense; names the first bad entry.
        """
        with self._lock:
            try:
                return self._catch_up(log)
            except AuditError:
                self._start()
                raise

    @property
    def head(self) -> Head | None:
        """The last entry that was taken into account; None before the first look."""
        return None if self._walk is None else self._walk.head

    def requests_by_state(self) -> Counter[str]:
        """Return how many requests are in each state, as the entries say that were taken into account last."""
        with self._lock:
            size = 0 if self._walk is None else self._walk.head.size
            if self._counted[0] != size:
                self._counted = size, Counter(row["state"] for row in self.replayed.rows["requests"].values())
            return self._counted[1]

    def _catch_up(self, log: AuditLog) -> Replayed:
        pages = None if self._walk is None else log.listed_behind(self._walk.head)
        if pages is None:
            # Nothing is known yet. Or this saw a transaction that was undone, or a database that was put back.
            self._start()
        with paused():
            walk = self._walk = self._walk or self._begin(log)
            for page in log.listed(walk.head.size) if pages is None else pages:
                self._take(walk, page)
            walk.finish()
            if worth_keeping(walk.head.size, self._snapshot):
                self._keep(log, walk)
        return self.replayed

    def _begin(self, log: AuditLog) -> LogVerification:
        """Go on from the last snapshot, or start with the first entry."""
        kept = self._kept(log)
        content = self._place.read()
        snapshot = None if content is None or kept.heads or kept.digests else Snapshot.parse(content)
        stream = None if snapshot is None else _same_entries(log, snapshot, kept)
        if snapshot is None or stream is None:
            self._compared = frozenset((one.size, one.root) for one in kept.checkpoints)
            return LogVerification(kept)
        self._stream, self._snapshot, self.replayed = stream, snapshot.size, snapshot.replayed()
        self._compared = snapshot.compared | {(one.size, one.root) for one in kept.checkpoints}
        return LogVerification(kept, start=(snapshot.end, snapshot.frontier))

    def _keep(self, log: AuditLog, walk: LogVerification) -> None:
        """Keep a snapshot, once the log was compared with the checkpoint that was signed since it was first read."""
        self._snapshot = walk.head.size
        known = frozenset((one.size, one.root) for one in self._kept(log).checkpoints)
        if all(size <= walk.head.size and self._stream.root(size) == root for size, root in known - self._compared):
            with suppress(ValueError):
                taken = Snapshot.of(self.replayed, walk.head, walk.frontier, self._stream, known)
                self._place.write(taken.to_bytes())

    def _take(self, walk: LogVerification, page: Sequence[ListedEntry]) -> None:
        for listed, event in zip(page, walk.verify_page([row[:3] for row in page]), strict=True):
            require_listed(listed, event)
            seq = listed[0]
            entry = event_of(*listed[:3], event)
            try:
                self.replayed.apply(entry)
            except (KeyError, ValueError) as error:
                raise AuditError(
                    f"entry {seq} tells of a row that no entry before it tells of: {error}",
                    "see: unledger audit verify",
                    seq=seq,
                ) from error
        self._stream.add([(lines_of(listed), listed[2]) for listed in page])


def event_of(seq: int, leaf: str, digest: str, event: dict[str, Any]) -> AuditEvent:
    """Return an entry as an event, read from its hashed text alone.

    Raises:
        AuditError: The text lacks what every entry has.
    """
    try:
        return AuditEvent(
            seq=seq,
            at=datetime.fromisoformat(event["at"]),
            kind=event["kind"],
            actor=event["actor"],
            model=event.get("model"),
            request_id=event.get("request"),
            data=event["data"],
            leaf=leaf,
            digest=digest,
        )
    except (LookupError, TypeError, ValueError) as error:
        raise AuditError(f"entry {seq} is not an event: {error}", seq=seq) from error


def _same_entries(log: AuditLog, snapshot: Snapshot, kept: ExternalRecord) -> EntryStream | None:
    """Return the entries that a snapshot was made of, read again; None if the log has others, or others were signed."""
    stream, count = EntryStream(), 0
    try:
        for page in log.lines(snapshot.size):
            stream.add(page)
            count += len(page)
    # What an intruder left there is named by the verification from the first entry on.
    except (TypeError, ValueError):
        return None
    if count != snapshot.size or stream.digest != snapshot.entries:
        return None
    signed = [one for one in kept.checkpoints if one.size <= snapshot.size]
    return stream if all(snapshot.agrees_with(one, stream) for one in signed) else None
