"""The audit log in SQL: appended in the transaction of the change it records, never edited."""

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, cast

from sqlalchemy import Table, Text, bindparam, func, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from ledger.audit import merkle
from ledger.audit.chain import Entry, Head, leaf_digest, leaf_text, verify_chain
from ledger.audit.events import AuditEvent
from ledger.audit.signed_notes import Checkpoint, Verifier
from ledger.audit.tree_builder import grown
from ledger.audit.verification import ExternalRecord
from ledger.domain.events.event import Event
from ledger.errors import NotFoundError
from ledger.store.database.open_transaction import OpenTransaction
from ledger.store.database.tables import AuditEventRow, AuditNoteRow
from ledger.store.made_once import made_once

from .appended import Appended
from .growth import EventRow, Growth, NoteRow
from .head import Recorded, read_head
from .tree import AuditTree
from .verification import LISTED, ListedEntry, altered_note, note_digest, verify_log, verify_since

PAGE = 1000
EVENTS = cast("Table", AuditEventRow.__table__)
LINES = (
    EVENTS.c.leaf + "\n" + EVENTS.c.digest + "\n" + EVENTS.c.kind
    + "\n" + func.coalesce(EVENTS.c.model, "") + "\n" + func.coalesce(sql_cast(EVENTS.c.request_id, Text), "") + "\n",
    EVENTS.c.digest,
)  # fmt: skip
# Built once: putting a statement together costs more than carrying it out.
LISTING = select(*LISTED).where(EVENTS.c.seq > bindparam("after")).order_by(EVENTS.c.seq)
NEWEST = (
    select(EVENTS.c.seq, EVENTS.c.leaf, EVENTS.c.digest)
    .where(EVENTS.c.model == bindparam("about"), EVENTS.c.kind == bindparam("sort"))
    .order_by(EVENTS.c.seq.desc())
    .limit(1)
)
ONE = select(EVENTS.c.seq, EVENTS.c.leaf, EVENTS.c.digest).where(EVENTS.c.seq == bindparam("wanted"))


@dataclass(frozen=True)
class NewEntry:
    """An event to append, with what every entry has."""

    event: Event
    at: datetime
    actor: str
    model: str | None = None
    request_id: int | None = None
    note: str = ""

    def to_json(self, salt: str) -> dict[str, Any]:
        """Return what its leaf says, apart from its place in the chain.

        Args:
            salt: Keeps the digest of the note from being guessed.
        """
        said: dict[str, Any] = {
            "at": self.at.isoformat(),
            "kind": str(self.event.kind),
            "actor": self.actor,
            "data": self.event.to_json(),
        }
        if self.model is not None:
            said["model"] = self.model
        if self.request_id is not None:
            said["request"] = self.request_id
        if self.note:
            said["note"] = note_digest(salt, self.note)
        return said


class AuditLog:
    """Append to, read, prove and verify the audit log inside one transaction.

    Args:
        transaction: The transaction.
        steady: Whether it sees one state of the database, whatever others commit meanwhile.
    """

    def __init__(self, transaction: OpenTransaction, *, steady: bool = False) -> None:
        self._open = transaction
        self._steady = steady
        self.appended = Appended()
        """What was appended in this transaction."""
        self._fixed: tuple[object, Recorded] | None = None
        """The head, where nobody else can move it, with the (possibly nested) transaction that saw it."""

    @property
    def _session(self) -> Session:
        return self._open.session

    @made_once
    def _tree(self) -> AuditTree:
        return AuditTree(self._session)

    # -- appending ------------------------------------------------------------------------------------

    def head(self, *, lock: bool = False) -> Head:
        """Return where the audit log ends; with ``lock``, nobody else appends until this transaction ends."""
        return self._recorded(lock=lock).head

    def append(
        self,
        event: Event,
        *,
        at: datetime,
        actor: str,
        model: str | None = None,
        request_id: int | None = None,
        note: str = "",
    ) -> int:
        """Append an event and return its sequence number.

        Args:
            event: What happened, with its facts: numbers, digests, class indices. No names of classes or people,
                which could not be erased from a chain.
            at: When, on the service's clock.
            actor: Who did it.
            model: Name of the model concerned.
            request_id: Number of the request concerned.
            note: Free text. Only a salted digest of it is chained; the text lies beside it.
        """
        entry = NewEntry(event, at=at, actor=actor, model=model, request_id=request_id, note=note)
        return self.append_all([entry])

    def append_all(self, entries: Sequence[NewEntry]) -> int:
        """Append events in order and return the sequence number of the last one.

        The number of statements does not depend on the number of events. Nothing happens without any.
        """
        recorded = self._recorded(lock=True)
        head = recorded.head
        rows: list[EventRow] = []
        notes: list[NoteRow] = []
        for entry in entries:
            seq, salt = head.size + 1, secrets.token_hex(16) if entry.note else ""
            leaf = leaf_text(seq, head.digest, entry.to_json(salt))
            head = Head(seq, leaf_digest(leaf))
            rows.append((seq, leaf, head.digest, str(entry.event.kind), entry.model, entry.request_id))
            self.appended.note(seq, entry.request_id)
            if entry.note:
                notes.append((seq, salt, entry.note))
        self._grow(recorded, head, rows, notes)
        return head.size

    def adopt(self, entries: Sequence[Entry]) -> Head:
        """Append entries of another ledger's history as they are, and return where it ends now.

        Raises:
            AuditError: One does not follow what is here.
        """
        recorded = self._recorded(lock=True)
        rows: list[EventRow] = []
        for entry, event in zip(entries, verify_chain(entries, after=recorded.head), strict=True):
            self.appended.note(entry.seq, None)
            # Without a kind, which no entry of ours is, the database refuses it.
            kind = cast("str", event.get("kind"))
            rows.append((*entry, kind, event.get("model"), event.get("request")))
        head = Head(entries[-1].seq, entries[-1].digest) if entries else recorded.head
        self._grow(recorded, head, rows, [])
        return head

    def _grow(self, before: Recorded, head: Head, rows: Sequence[EventRow], notes: Sequence[NoteRow]) -> None:
        if not rows:
            return
        frontier, completed = grown(before.frontier, [bytes.fromhex(row[2]) for row in rows])
        subtrees = [(level, position, node.hex()) for level, position, node in completed]
        after = Recorded.of(head, frontier)
        Growth(before, after, rows, notes, subtrees).write(self._open)
        if "_tree" in self.__dict__:
            self._tree.forget()
        # What a savepoint undid must be read again: it is remembered under the savepoint, which is gone.
        self._fixed = self._open.innermost, after

    def _recorded(self, *, lock: bool = False) -> Recorded:
        if self._fixed is not None and self._fixed[0] is self._open.innermost:
            return self._fixed[1]
        recorded = read_head(self._open, lock=lock)
        if lock or self._steady:
            self._fixed = self._open.innermost, recorded
        return recorded

    # -- reading --------------------------------------------------------------------------------------

    def events(
        self,
        *,
        model: str | None = None,
        request_id: int | None = None,
        after: int = 0,
        limit: int | None = None,
        kinds: Sequence[str] = (),
        check_notes: bool = False,
    ) -> Iterator[AuditEvent]:
        """Yield events in order, at most ``limit``; ``kinds`` leaves out all others.

        Raises:
            AuditError: With ``check_notes``: a note is not the one that its entry was written with.
        """
        query = (
            select(AuditEventRow, AuditNoteRow.text, AuditNoteRow.salt)
            .outerjoin(AuditNoteRow, AuditNoteRow.seq == AuditEventRow.seq)
            .where(AuditEventRow.seq > after)
            .order_by(AuditEventRow.seq)
            .limit(limit)
        )
        if model is not None:
            query = query.where(AuditEventRow.model == model)
        if request_id is not None:
            query = query.where(AuditEventRow.request_id == request_id)
        if kinds:
            query = query.where(AuditEventRow.kind.in_([str(kind) for kind in kinds]))
        for row, note, salt in self._session.execute(query).yield_per(PAGE):
            event = json.loads(row.leaf)
            if check_notes and note is not None and note_digest(salt, note) != event.get("note"):
                raise altered_note(row.seq)
            yield AuditEvent(
                seq=row.seq,
                at=datetime.fromisoformat(event["at"]),
                kind=row.kind,
                actor=event["actor"],
                model=row.model,
                request_id=row.request_id,
                data=event["data"],
                leaf=row.leaf,
                digest=row.digest,
                note=note,
            )

    def count(self, *, model: str | None = None, after: int = 0) -> int:
        """Return how many events :meth:`events` yields without a limit."""
        if model is None:
            # They are numbered without gaps.
            return max(0, (self._session.scalar(select(func.max(AuditEventRow.seq))) or 0) - after)
        query = select(func.count()).where(AuditEventRow.seq > after, AuditEventRow.model == model)
        return self._session.scalar(query) or 0

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """Yield the entries as they are hashed, in order."""
        for page in self.pages(after):
            yield from map(Entry._make, page)

    def pages(self, after: int = 0) -> Iterator[Sequence[tuple[int, str, str]]]:
        """Yield what :meth:`entries` yields, many at a time and as plain tuples: for the verification of a long log."""
        query = select(EVENTS.c.seq, EVENTS.c.leaf, EVENTS.c.digest).where(EVENTS.c.seq > after).order_by(EVENTS.c.seq)
        for page in self._session.execute(query).yield_per(PAGE).partitions():
            yield [tuple(row) for row in page]

    def listed(self, after: int = 0) -> Iterator[Sequence[ListedEntry]]:
        """Yield the entries with the columns that they are looked up by, many at a time."""
        for page in self._session.connection().execute(LISTING, {"after": after}).yield_per(PAGE).partitions():
            yield cast("Sequence[ListedEntry]", page)

    def listed_behind(self, head: Head) -> Iterator[Sequence[ListedEntry]] | None:
        """Return the entries after a head as :meth:`listed` does; None if the log does not continue that head."""
        if head.size == 0:
            return self.listed()
        if self.head().size < head.size:
            return None
        # One look tells both: whether the entry is there as it was, and what follows it.
        pages = self.listed(head.size - 1)
        first = next(pages, ())
        if not first or (first[0][0], first[0][2]) != (head.size, head.digest):
            return None
        return chain([first[1:]], pages)

    def lines(self, last: int) -> Iterator[Sequence[tuple[str, str]]]:
        """Yield what is stored of the entries up to one of them, as :func:`lines_of` writes it, and their digests.

        In order, many at a time.
        """
        query = select(*LINES).where(EVENTS.c.seq.between(1, last)).order_by(EVENTS.c.seq)
        for page in self._session.execute(query).yield_per(PAGE).partitions():
            yield cast("Sequence[tuple[str, str]]", page)

    def continues(self, head: Head) -> bool:
        """Whether the log has the entry that a head names, under its number."""
        return head.size == 0 or (self.head().size >= head.size and self.entry(head.size).digest == head.digest)

    def entry(self, seq: int) -> Entry:
        """Return one entry.

        Raises:
            NotFoundError: There is none with this number.
        """
        row = self._session.connection().execute(ONE, {"wanted": seq}).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no entry {seq}", "see: unledger audit log")
        return Entry(*row)

    def newest(self, kind: str, *, model: str) -> Entry | None:
        """Return the last entry of a kind about a model; None if there is none."""
        row = self._session.connection().execute(NEWEST, {"about": model, "sort": str(kind)}).one_or_none()
        return None if row is None else Entry(*row)

    # -- proofs ---------------------------------------------------------------------------------------

    def tree_node(self, start: int, stop: int) -> bytes:
        """Return the hash of the complete subtree over entries ``[start, stop)``, counted from 0."""
        return self._tree.node(start, stop)

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the tree over the first ``size`` entries, or over all."""
        return merkle.root_at(self.head().size if size is None else size, self.tree_node)

    def inclusion(self, seq: int, size: int | None = None) -> list[bytes]:
        """Return the proof (RFC 6962, section 2.1.1) that an entry stands in the tree of ``size`` entries, or of all.

        Raises:
            NotFoundError: The tree has no such entry.
        """
        size = self.head().size if size is None else size
        if not 0 < seq <= size:
            raise NotFoundError(f"there is no entry {seq} among the first {size}", "see: unledger audit log")
        return merkle.inclusion_proof(seq - 1, size, self.tree_node)

    # -- verifying ------------------------------------------------------------------------------------

    def verify(self, kept: Head | ExternalRecord | None = None, *, verifiers: Sequence[Verifier] = ()) -> Head:
        """Check the whole history: chain, columns, notes, hash tree, head, and the checkpoints that were issued.

        Args:
            kept: What was noted earlier and elsewhere.
            verifiers: Keys that issued checkpoints must be signed with; without any, only what they say is compared.

        Raises:
            AuditError: Names the first bad entry. Where the head or the hash tree over everything is bad, that is
                the number after the last entry; where an issued checkpoint is not genuine, its size.
        """
        if not isinstance(kept, ExternalRecord):
            kept = ExternalRecord(() if kept is None else (kept,))
        return verify_log(self._open, kept, verifiers)

    def verify_since(self, checkpoint: Checkpoint) -> Head:
        """Check that the audit log continues a checkpoint, reading only the entries after it.

        Raises:
            AuditError: It does not; names the first entry that is not proven.
        """
        return verify_since(self._open, checkpoint)
