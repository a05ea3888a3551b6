"""Signed checkpoints that were issued: queries only."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ledger.store.database.tables import CheckpointRow


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint as it was found in storage: the signed note is what counts, the rest finds it."""

    size: int
    root: str
    note: str
    created_at: datetime


class Checkpoints:
    """The checkpoints that this ledger issued."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, checkpoint: StoredCheckpoint) -> None:
        """Insert a checkpoint."""
        self._session.add(CheckpointRow(**vars(checkpoint)))
        self._session.flush()

    def all(self) -> list[StoredCheckpoint]:
        """Return every checkpoint, in the order they were issued."""
        return [_convert(row) for row in self._session.scalars(select(CheckpointRow).order_by(CheckpointRow.id))]

    def last(self) -> StoredCheckpoint | None:
        """Return the checkpoint that was issued last."""
        row = self._session.scalar(select(CheckpointRow).order_by(CheckpointRow.id.desc()).limit(1))
        return None if row is None else _convert(row)

    def covering(self, seq: int) -> StoredCheckpoint | None:
        """Return the first checkpoint that was issued over an entry."""
        query = select(CheckpointRow).where(CheckpointRow.size >= seq).order_by(CheckpointRow.id).limit(1)
        row = self._session.scalar(query)
        return None if row is None else _convert(row)


def _convert(row: CheckpointRow) -> StoredCheckpoint:
    return StoredCheckpoint(row.size, row.root, row.note, row.created_at)
