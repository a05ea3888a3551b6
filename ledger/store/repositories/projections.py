"""The rows that the audit log accounts for, as plain values: what a replay of the log is compared with."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Dialect,
    Select,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    func,
    select,
    type_coerce,
)
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from ledger.audit.row_digests import basis_digest, row_digest
from ledger.domain.states import RequestState
from ledger.errors import RowError
from ledger.store.database.tables import (
    AliasMoveRow,
    AliasRow,
    Base,
    BasisTermRow,
    CertificateRow,
    ClassSpaceRow,
    EvidenceRow,
    KeptResultRow,
    ModelRow,
    ObjectRow,
    RequestRow,
    TokenRow,
    UtcDateTime,
    VersionRow,
    WebhookRow,
)

from .chunks import chunked

ROWS: tuple[type[Base], ...] = (
    ModelRow,
    RequestRow,
    VersionRow,
    AliasRow,
    AliasMoveRow,
    ClassSpaceRow,
    KeptResultRow,
    BasisTermRow,
    EvidenceRow,
    CertificateRow,
    ObjectRow,
    TokenRow,
    WebhookRow,
)
TABLES = {row.__tablename__: cast("Table", row.__table__) for row in ROWS}
"""What a replay rebuilds."""
MODELS, SPACES = TABLES["models"], TABLES["class_spaces"]
NAME = "the model's name"
"""Column of a query: beside the number, in whose place it belongs."""


class AsFarAsReadable(TypeDecorator[Any]):
    """Reads a column as its own type does, and what that cannot read as it is stored: a difference like any other.

    SQLite takes any text for JSON and for a time.

    Args:
        own: The type of the column.
    """

    impl = Text
    cache_ok = True

    def __init__(self, own: TypeEngine[Any]) -> None:
        super().__init__()
        self.own = own

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return what reads a value, if anything needs to."""
        process = self.own.dialect_impl(dialect).result_processor(dialect, coltype)
        if process is None:
            return None

        def read(value: Any) -> Any:
            try:
                return process(value)
            except RowError:
                return value

        return read


def _read_as(column: Column[Any]) -> ColumnElement[Any]:
    if column.key == "class_space_id":
        return SPACES.c.spec_digest.label(column.key)
    if not isinstance(column.type, JSON | UtcDateTime):
        return column
    return type_coerce(column, AsFarAsReadable(column.type)).label(column.key)


@cache
def _query(table: str, single: tuple[str, ...], many: str | None) -> Select[*tuple[Any, ...]]:
    """Return what reads rows by some columns: putting a statement together costs more than carrying it out.

    Args:
        table: Name of the table.
        single: Columns with one value each, which is given under the column's name.
        many: The column with several possible values, given likewise.
    """
    stored = TABLES[table]
    query = select(*(_read_as(column) for column in stored.c)).order_by(*stored.primary_key)
    if "model_id" in stored.c:
        query = query.add_columns(MODELS.c.name.label(NAME))
        query = query.outerjoin_from(stored, MODELS, MODELS.c.id == stored.c.model_id)
    if "class_space_id" in stored.c:
        query = query.outerjoin_from(stored, SPACES, SPACES.c.id == stored.c.class_space_id)
    for column in single:
        compared = MODELS.c.name if column == "model_id" else stored.c[column]
        query = query.where(compared == bindparam(column, type_=compared.type))
    return query if many is None else query.where(stored.c[many].in_(bindparam(many, expanding=True)))


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
            where: Columns with the values that they must have, or with a frozenset of possible values (of one column
                only). A ``model_id`` is given as the model's name.
        """
        many = next((column for column, value in where.items() if isinstance(value, frozenset)), None)
        single = {column: value for column, value in where.items() if column != many}
        query = _query(table, tuple(single), many)
        if many is None:
            yield from self._read(query, single)
            return
        for some in chunked(sorted(where[many])):  # type: ignore[call-overload]
            yield from self._read(query, {**single, many: some})

    def _read(self, query: Select[*tuple[Any, ...]], values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        # Rows as such: what the session remembers of them does not count, nor is it worth the time to make objects.
        self._session.flush()
        for row in self._session.connection().execute(query, values).mappings():
            values = dict(row)
            name = values.pop(NAME, None)
            if name is not None:
                values["model_id"] = name
            yield values

    def requests_by_state(self) -> Counter[str]:
        """Return how many requests are in each state; states without any are left out."""
        state = TABLES["requests"].c.state
        return Counter(dict(self._session.execute(select(state, func.count()).group_by(state)).all()))

    def requests_in(self, model: str, state: RequestState) -> frozenset[int]:
        """Return the numbers of a model's requests that are in a state."""
        columns = TABLES["requests"].c
        own = select(MODELS.c.id).where(MODELS.c.name == model).scalar_subquery()
        query = select(columns.id).where(columns.model_id == own, columns.state == state.value)
        return frozenset(self._session.scalars(query))

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
    return {name: frozenset(column.key for column in table.c) for name, table in TABLES.items()}
