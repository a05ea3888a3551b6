"""The rows that the audit log accounts for, as plain values: what a replay of the log is compared with."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ledger.audit.row_digests import basis_digest, row_digest
from ledger.store.database.tables import (
    AliasMoveRow,
    AliasRow,
    Base,
    BasisTermRow,
    CertificateRow,
    ClassSpaceRow,
    EvidenceRow,
    ModelRow,
    ObjectRow,
    RequestRow,
    VersionRow,
)

ROWS: tuple[type[Base], ...] = (
    ModelRow,
    RequestRow,
    VersionRow,
    AliasRow,
    AliasMoveRow,
    ClassSpaceRow,
    BasisTermRow,
    EvidenceRow,
    CertificateRow,
    ObjectRow,
)
TABLES = {row.__tablename__: row for row in ROWS}
"""What a replay rebuilds."""


class Projections:
    """Reads whole rows, column by column."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def rows(self, table: str, **where: object) -> Iterator[dict[str, Any]]:
        """Yield rows of a table as they are stored, in the order of their primary keys.

        Numbers that mean nothing outside the database are replaced: a model's by its name, a class space's by the
        digest of its specification.

        Args:
            table: Name of the table.
            where: Columns with the values that they must have. A ``model_id`` is given as the model's name.
        """
        kind = TABLES[table]
        names = {row.id: row.name for row in self._session.scalars(select(ModelRow))}
        columns = [column.key for column in kind.__mapper__.columns]
        query = select(kind).order_by(*kind.__mapper__.primary_key).execution_options(populate_existing=True)
        for column, value in where.items():
            wanted = (
                next((key for key, name in names.items() if name == value), None) if column == "model_id" else value
            )
            query = query.where(getattr(kind, column) == wanted)
        for row in self._session.scalars(query):
            values = {name: getattr(row, name) for name in columns}
            if "model_id" in values:
                values["model_id"] = names.get(values["model_id"], values["model_id"])
            if "class_space_id" in values:
                space = self._session.get(ClassSpaceRow, values["class_space_id"])
                values["class_space_id"] = None if space is None else space.spec_digest
            yield values

    def digest(self, table: str, **where: object) -> str:
        """Return the digest of the last of the rows that :meth:`rows` yields: what the log records of a new row.

        Raises:
            LookupError: There is none.
        """
        self._session.flush()
        *_, last = self.rows(table, **where)
        return row_digest(table, last)

    def basis_digest(self, model: str, version: int) -> str:
        """Return the digest of the class spaces that a version's bases are sums of."""
        terms = self.rows("basis_terms", model_id=model, version=version)
        return basis_digest((term["role"], term["class_index"], term["class_space_id"]) for term in terms)


def columns() -> dict[str, frozenset[str]]:
    """Return the columns of every table that a replay rebuilds."""
    return {name: frozenset(column.key for column in kind.__mapper__.columns) for name, kind in TABLES.items()}
