"""What a transaction adds to the audit log, written with as few statements as the database lets one write it with.

A server is asked once, whatever is added: with its commit and the lock on the head, a transaction that appends goes to
the server four times, as the smallest one does that changes two rows. A file has no way to go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from ledger.errors import AuditError
from ledger.store.database.news import TELL, told
from ledger.store.database.open_transaction import OpenTransaction

from .head import Recorded

EventRow = tuple[int, str, str, str, str | None, int | None]
NoteRow = tuple[int, str, str]
SubtreeRow = tuple[int, int, str]


@dataclass(frozen=True)
class Growth:
    """Rows to add, and the head before and after them."""

    before: Recorded
    after: Recorded
    events: Sequence[EventRow]
    notes: Sequence[NoteRow]
    subtrees: Sequence[SubtreeRow]

    def write(self, transaction: OpenTransaction) -> None:
        """Write all of it.

        Raises:
            AuditError: The head is not the one that this goes on from.
        """
        moved = self._write_at_once(transaction) if transaction.on_server else self._write(transaction)
        if moved != 1:
            raise AuditError(
                f"the head of the audit history is no longer at entry {self.before.head.size}",
                "see: unledger audit verify",
                seq=self.before.head.size + 1,
            )

    def _moved_head(self) -> tuple[object, ...]:
        after = self.after
        return after.head.size, after.head.digest, after.root, after.peaks, self.before.head.size

    def _write(self, transaction: OpenTransaction) -> int:
        for table, rows in ((EVENTS, self.events), (NOTES, self.notes), (SUBTREES, self.subtrees)):
            if rows:
                transaction.change_many(table.addition, rows)
        move = "UPDATE audit_head SET size = ?, digest = ?, root = ?, peaks = ? WHERE id = 1 AND size = ?"
        return transaction.change(move, self._moved_head())

    def _write_at_once(self, transaction: OpenTransaction) -> int:
        values: list[object] = []
        for rows in (self.events, self.notes, self.subtrees):
            if rows:
                values += rows[0] if len(rows) == 1 else [list(column) for column in zip(*rows, strict=True)]
        # Several rows of a table make another statement than one, however many they are.
        statement = _statement(min(len(self.events), 2), min(len(self.notes), 2), min(len(self.subtrees), 2))
        kinds = told(str(event[3]) for event in self.events)
        return transaction.change(statement, (*values, *self._moved_head(), kinds))


@cache
def _statement(events: int, notes: int, subtrees: int) -> str:
    parts = ((EVENTS, events), (NOTES, notes), (SUBTREES, subtrees))
    added = ", ".join(table.insertion(count) for table, count in parts if count)
    move = "UPDATE audit_head SET size = %s, digest = %s, root = %s, peaks = %s WHERE id = 1 AND size = %s"
    return f"WITH {added} {move} RETURNING {TELL}"


@dataclass(frozen=True)
class _Table:
    """A table's name, its columns, and their types on a server."""

    name: str
    columns: str
    types: str

    @property
    def addition(self) -> str:
        """The statement that adds one row to a file."""
        marks = ", ".join("?" for _ in self.columns.split(", "))
        return f"INSERT INTO {self.name} ({self.columns}) VALUES ({marks})"  # noqa: S608 - names of ours

    def insertion(self, count: int) -> str:
        """Return the part of a statement that adds rows on a server: the only one, or an array for each column."""
        types = self.types.split(", ")
        rows = f"VALUES ({', '.join('%s' for _ in types)})"
        if count > 1:
            rows = f"SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in types)})"  # noqa: S608 - names of ours
        return f"new_{self.name} AS (INSERT INTO {self.name} ({self.columns}) {rows})"


EVENTS = _Table(
    "audit_events", "seq, leaf, digest, kind, model, request_id", "integer, text, text, text, text, integer"
)
NOTES = _Table("audit_notes", "seq, salt, text", "integer, text, text")
SUBTREES = _Table("audit_subtrees", "level, position, digest", "integer, integer, text")
