"""Verify the stored audit log: the entries, and everything the database keeps beside them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Result, Table, select
from sqlalchemy.orm import Session

from ledger.audit.chain import GENESIS, Entry, Head, verify_chain
from ledger.audit.merkle import Frontier, frontier_at
from ledger.audit.signed_notes import Checkpoint, Verifier, open_checkpoint
from ledger.audit.tree_builder import TreeBuilder
from ledger.audit.verification import ExternalRecord, LogVerification
from ledger.errors import AuditError, SignatureError
from ledger.store.database.open_transaction import OpenTransaction
from ledger.store.database.tables import AuditEventRow, AuditNoteRow
from ledger.store.repositories.checkpoints import Checkpoints, StoredCheckpoint

from .head import read_head
from .tree import AuditTree

PAGE = 1024
EVENTS, NOTES = cast("Table", AuditEventRow.__table__), cast("Table", AuditNoteRow.__table__)


LISTED = (EVENTS.c.seq, EVENTS.c.leaf, EVENTS.c.digest, EVENTS.c.kind, EVENTS.c.model, EVENTS.c.request_id)
"""The columns of an entry: those behind the digest are what it is looked up by."""
ListedEntry = tuple[int, str, str, str, str | None, int | None]


def require_listed(entry: ListedEntry, event: Mapping[str, Any]) -> None:
    """Check that an entry is looked up by what its text says.

    Raises:
        AuditError: It is not: whoever asks for entries of a kind, a model or a request could miss it.
    """
    seq, _, _, kind, model, request_id = entry
    if kind != event.get("kind") or model != event.get("model") or request_id != event.get("request"):
        raise AuditError(f"entry {seq} is listed as something other than its text says", seq=seq)


def lines_of(entry: ListedEntry) -> str:
    """Return all that is stored of an entry, each part on a line of its own: no sound one holds a line break."""
    _, leaf, digest, kind, model, request_id = entry
    return f"{leaf}\n{digest}\n{kind}\n{model or ''}\n{'' if request_id is None else request_id}\n"


def note_digest(salt: str, text: str) -> str:
    """Return the salted digest that a leaf holds in place of free text."""
    return hashlib.sha256(f"{salt}\x00{text}".encode()).hexdigest()


def altered_note(seq: int) -> AuditError:
    """Return the error for a note that is not the one that its entry was written with."""
    return AuditError(f"the note of entry {seq} was altered", seq=seq)


def verify_log(transaction: OpenTransaction, kept: ExternalRecord, verifiers: Sequence[Verifier]) -> Head:
    """Check chain, columns, notes, hash tree, head, and the checkpoints that were issued.

    Raises:
        AuditError: Names the first bad entry, as :meth:`ledger.store.audit.log.AuditLog.verify` says.
    """
    session = transaction.session
    genuine, altered = _issued(session, verifiers)
    walk = LogVerification(kept | ExternalRecord(checkpoints=tuple(genuine)), AuditTree(session).all())
    with _paged(session, *LISTED) as rows:
        for page in rows.partitions():
            events = walk.verify_page([row[:3] for row in page])
            notes = _notes(session, page[0][0], page[-1][0])
            for listed, event in zip(page, events, strict=True):
                require_listed(cast("ListedEntry", listed), event)
                seq = listed[0]
                if seq in notes and note_digest(*notes[seq]) != event.get("note"):
                    raise altered_note(seq)
    head = walk.finish()
    _check_head(transaction, head, walk.frontier)
    if altered is not None:
        raise AuditError(
            f"the stored checkpoint of {altered.size} entries is not one that this ledger's key signed",
            "a checkpoint kept elsewhere tells what was signed: --against",
            seq=max(altered.size, 1),
        )
    return head


def verify_since(transaction: OpenTransaction, checkpoint: Checkpoint) -> Head:
    """Check that the audit log continues a checkpoint, reading only the entries after it.

    Raises:
        AuditError: It does not; names the first entry that is not proven.
    """
    session = transaction.session
    reach = read_head(transaction, lock=False).head.size
    if reach < checkpoint.size:
        raise AuditError(
            f"the history has {reach} entries, the checkpoint {checkpoint.size}: its end is missing", seq=reach + 1
        )
    growth = TreeBuilder(frontier_at(checkpoint.size, AuditTree(session).node))
    if growth.frontier.root != checkpoint.root:
        raise AuditError(f"the first {checkpoint.size} entries are not those that the checkpoint was made of", seq=1)
    head = Head(checkpoint.size, _digest_at(session, checkpoint.size))
    with _paged(session, EVENTS.c.seq, EVENTS.c.leaf, EVENTS.c.digest, after=checkpoint.size) as rows:
        for page in rows.partitions():
            entries = [Entry(*row) for row in page]
            for _ in verify_chain(entries, after=head):
                pass
            head = Head(entries[-1].seq, entries[-1].digest)
            growth.extend([bytes.fromhex(entry.digest) for entry in entries])
    _check_head(transaction, head, growth.frontier)
    return head


def _paged(session: Session, *columns: Any, after: int | None = None) -> Result[*tuple[Any, ...]]:
    # From a cursor on the server where there is one, which must be closed even when a check fails half-way.
    query = select(*columns).order_by(EVENTS.c.seq)
    if after is not None:
        query = query.where(EVENTS.c.seq > after)
    return session.execute(query.execution_options(yield_per=PAGE))


def _digest_at(session: Session, seq: int) -> str:
    return session.scalar(select(EVENTS.c.digest).where(EVENTS.c.seq == seq)) or "" if seq else GENESIS


def _check_head(transaction: OpenTransaction, head: Head, frontier: Frontier) -> None:
    recorded = read_head(transaction, lock=False)
    if recorded.head != head:
        raise AuditError(
            f"the history ends at entry {head.size}, but {recorded.head.size} were written",
            "entries were cut off its end, or the head was altered",
            seq=min(head.size, recorded.head.size) + 1,
        )
    if recorded.root != frontier.root.hex() or recorded.frontier != frontier:
        raise AuditError("the recorded root of the hash tree is not that of the entries", seq=head.size + 1)


def _issued(session: Session, verifiers: Sequence[Verifier]) -> tuple[list[Checkpoint], StoredCheckpoint | None]:
    """Return what issued checkpoints say, and the first that is not as it was issued."""
    genuine, altered = [], None
    for stored in Checkpoints(session).all():
        try:
            said = open_checkpoint(stored.note, verifiers) if verifiers else Checkpoint.of_note(stored.note)
        except SignatureError:
            said = None
        if said is None or (said.size, said.root.hex()) != (stored.size, stored.root):
            altered = altered or stored
        else:
            genuine.append(said)
    return genuine, altered


def _notes(session: Session, first: int, last: int) -> dict[int, tuple[str, str]]:
    query = select(NOTES.c.seq, NOTES.c.salt, NOTES.c.text).where(NOTES.c.seq.between(first, last))
    return {seq: (salt, text) for seq, salt, text in session.execute(query)}
