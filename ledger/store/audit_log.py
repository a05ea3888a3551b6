"""The audit history in SQL: appended in the transaction of the change it records, never edited."""

import hashlib
import json
import secrets
from collections.abc import Iterator
from datetime import datetime
from itertools import tee
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ledger.audit.chain import GENESIS, Entry, Head, leaf_digest, leaf_text, verify
from ledger.domain.records import AuditEvent
from ledger.errors import AuditError

from .tables import AuditEventRow, AuditHeadRow, AuditNoteRow

HEAD_ID = 1
PAGE = 1000


class AuditLog:
    """Append to, read and verify the history inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def head(self, *, lock: bool = False) -> Head:
        """Return where the history ends; with ``lock``, nobody else appends until this transaction ends."""
        row = self._head_row(lock=lock)
        return Head(row.size, row.digest)

    def append(
        self,
        kind: str,
        *,
        at: datetime,
        actor: str,
        model: str | None = None,
        request_id: int | None = None,
        data: dict[str, Any] | None = None,
        note: str = "",
    ) -> int:
        """Append an event and return its sequence number.

        Args:
            kind: What happened, e.g. ``request.fulfilled``.
            at: When, on the service's clock.
            actor: Who did it.
            model: Name of the model concerned.
            request_id: Number of the request concerned.
            data: Plain JSON facts: numbers, digests, class indices. No names of classes or people,
                which could not be erased from a chain.
            note: Free text. Only a salted digest of it is chained; the text lies beside it.
        """
        head = self._head_row(lock=True)
        seq = head.size + 1
        event: dict[str, Any] = {"at": at.isoformat(), "kind": kind, "actor": actor, "data": data or {}}
        if model is not None:
            event["model"] = model
        if request_id is not None:
            event["request"] = request_id
        salt = secrets.token_hex(16)
        if note:
            event["note"] = note_digest(salt, note)
        leaf = leaf_text(seq, head.digest, event)
        digest = leaf_digest(leaf)
        self._session.add(
            AuditEventRow(seq=seq, kind=kind, model=model, request_id=request_id, leaf=leaf, digest=digest)
        )
        self._session.flush()
        if note:
            self._session.add(AuditNoteRow(seq=seq, salt=salt, text=note))
        head.size, head.digest = seq, digest
        self._session.flush()
        return seq

    def events(
        self, *, model: str | None = None, request_id: int | None = None, after: int = 0
    ) -> Iterator[AuditEvent]:
        """Yield events in order."""
        query = (
            select(AuditEventRow, AuditNoteRow.text)
            .outerjoin(AuditNoteRow, AuditNoteRow.seq == AuditEventRow.seq)
            .where(AuditEventRow.seq > after)
            .order_by(AuditEventRow.seq)
        )
        if model is not None:
            query = query.where(AuditEventRow.model == model)
        if request_id is not None:
            query = query.where(AuditEventRow.request_id == request_id)
        for row, note in self._session.execute(query).yield_per(PAGE):
            event = json.loads(row.leaf)
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

    def verify(self, kept: Head | None = None) -> Head:
        """Check the whole history, its columns, its notes and its head.

        Args:
            kept: A head noted earlier and elsewhere.

        Raises:
            AuditError: Names the first bad entry.
        """
        head = Head(0, GENESIS)
        # In lockstep: each row is looked at once its entry's place in the chain is proven.
        rows, again = tee(self._rows())
        entries = (Entry(row.seq, row.leaf, row.digest) for row, _, _ in again)
        for event, (row, salt, note) in zip(verify(entries, kept=kept), rows, strict=True):
            columns = (row.kind, row.model, row.request_id)
            if columns != (event.get("kind"), event.get("model"), event.get("request")):
                raise AuditError(f"entry {row.seq} is listed as something other than its text says", seq=row.seq)
            if note is not None and note_digest(salt or "", note) != event.get("note"):
                raise AuditError(f"the note of entry {row.seq} was altered", seq=row.seq)
            head = Head(row.seq, row.digest)
        recorded = self.head()
        if recorded != head:
            raise AuditError(
                f"the history ends at entry {head.size}, but {recorded.size} were written",
                "entries were cut off its end, or the head was altered",
                seq=min(head.size, recorded.size) + 1,
            )
        return head

    def count(self) -> int:
        """Return the number of entries."""
        return self._session.scalar(select(func.count()).select_from(AuditEventRow)) or 0

    def _rows(self) -> Iterator[tuple[AuditEventRow, str | None, str | None]]:
        query = (
            select(AuditEventRow, AuditNoteRow.salt, AuditNoteRow.text)
            .outerjoin(AuditNoteRow, AuditNoteRow.seq == AuditEventRow.seq)
            .order_by(AuditEventRow.seq)
            .execution_options(populate_existing=True)
        )
        for event, salt, note in self._session.execute(query).yield_per(PAGE):  # noqa: UP028 - a Row is no tuple
            yield event, salt, note

    def _head_row(self, *, lock: bool) -> AuditHeadRow:
        query = select(AuditHeadRow).where(AuditHeadRow.id == HEAD_ID)
        if lock:
            # SQLite ignores FOR UPDATE: there, BEGIN IMMEDIATE already holds the only write lock.
            query = query.with_for_update().execution_options(populate_existing=True)
        row = self._session.scalar(query)
        if row is None:
            raise AuditError("the head of the audit history is missing", "restore the database", seq=1)
        return row


def note_digest(salt: str, text: str) -> str:
    """Return the salted digest that a leaf holds in place of free text."""
    return hashlib.sha256(f"{salt}\x00{text}".encode()).hexdigest()
