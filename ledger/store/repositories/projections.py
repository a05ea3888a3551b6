"""The rows that the audit log accounts for, as plain values: what a replay of the audit log is compared with."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ledger.store.database.tables import AliasMoveRow, AliasRow, Base, ModelRow, RequestRow, VersionRow

ROWS: tuple[type[Base], ...] = (ModelRow, RequestRow, VersionRow, AliasRow, AliasMoveRow)
TABLES = {row.__tablename__: row for row in ROWS}
"""What a replay rebuilds."""


class Projections:
    """Reads whole rows, column by column."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Yield a table's rows as they are stored, with the name of the model in place of its number."""
        kind = TABLES[table]
        names = {row.id: row.name for row in self._session.scalars(select(ModelRow))}
        columns = [column.key for column in kind.__mapper__.columns]
        for row in self._session.scalars(select(kind).execution_options(populate_existing=True)):
            values = {name: getattr(row, name) for name in columns}
            if "model_id" in values:
                values["model_id"] = names.get(values["model_id"], values["model_id"])
            yield values


def columns() -> dict[str, frozenset[str]]:
    """Return the columns of every table that a replay rebuilds."""
    return {name: frozenset(column.key for column in kind.__mapper__.columns) for name, kind in TABLES.items()}
