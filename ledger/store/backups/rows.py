r"""The rows of every table as JSON lines, which any supported database can take in.

    {"format": "unledger.rows/1", "schema": "r0002"}
    {"table": "models", "columns": [["id", "plain"], ["options", "json"], ["created_at", "moment"], ...]}
    [1, "{\"in_chans\": 1}", "2026-01-05T09:00:00+00:00", ...]
    ...

JSON columns hold their text, to the letter; moments are ISO 8601 in UTC. Tables come in an order in which rows refer to
earlier ones only.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Dialect,
    Table,
    Text,
    bindparam,
    cast,
    column,
    delete,
    func,
    insert,
    select,
    table,
    type_coerce,
)
from sqlalchemy.types import NullType, TypeEngine

from ledger.errors import IntegrityError
from ledger.store.database.tables import Base, UtcDateTime

FORMAT = "unledger.rows/1"
PLAIN, JSON_TEXT, MOMENT = "plain", "json", "moment"
PARAMETER = "value_"
"""Begins the names of parameters: those of the columns are SQLAlchemy's own."""
PAGE = 500
"""Rows sent at once."""


def dump_rows(connection: Connection, schema: str) -> Iterator[bytes]:
    """Yield the lines of all tables, as one transaction sees them.

    Args:
        connection: Its transaction must see one state of the database throughout.
        schema: Revision of the database's schema.
    """
    yield _line({"format": FORMAT, "schema": schema})
    for known in Base.metadata.sorted_tables:
        kinds = [(c.name, _kind(c)) for c in known.columns]
        yield _line({"table": known.name, "columns": kinds})
        shown = [_shown(c, kind, connection.dialect) for c, (_, kind) in zip(known.columns, kinds, strict=True)]
        query = select(*shown).select_from(known).order_by(*known.primary_key.columns)
        with connection.execution_options(yield_per=PAGE).execute(query) as rows:
            for row in rows:
                yield _line([v.isoformat() if isinstance(v, datetime) else v for v in row])


def load_rows(connection: Connection, lines: Iterable[bytes]) -> None:
    """Put the rows into a database that holds the same schema and no ledger.

    Args:
        connection: Written through; the caller commits.
        lines: As :func:`dump_rows` yields them.

    Raises:
        IntegrityError: The lines are not such rows.
    """
    try:
        _load(connection, map(json.loads, lines))
    except (ValueError, LookupError, TypeError) as error:
        raise IntegrityError(f"the rows of the backup cannot be read: {error}", "use another backup") from error


def _load(connection: Connection, documents: Iterator[Any]) -> None:
    head: Any = next(documents, None)
    if head["format"] != FORMAT:
        raise IntegrityError("the rows of the backup have an unknown format", "upgrade unledger")
    kinds: list[tuple[str, str]] = []
    name, seen = "", 0
    pending = next(documents, None)
    while pending is not None:
        name, kinds = pending["table"], pending["columns"]
        target = table(name, *(column(c, _loaded(kind)) for c, kind in kinds))
        # What a migration put into a new schema, such as the empty head of the audit log.
        if connection.scalar(select(func.count()).select_from(target)):
            connection.execute(delete(target))
        statement = insert(target).values({c: _stored(c, kind, connection.dialect) for c, kind in kinds})
        pending = None
        while page := list(islice(documents, PAGE)):
            rows = []
            for position, document in enumerate(page):
                if isinstance(document, dict):
                    pending = document
                    documents = _chained(page[position + 1 :], documents)
                    break
                rows.append({PARAMETER + c: _value(v, kind) for (c, kind), v in zip(kinds, document, strict=True)})
            seen += len(rows)
            if rows:
                connection.execute(statement, rows)
            if pending is not None:
                break
        _advance_sequence(connection, name)


def _chained(first: list[Any], rest: Iterator[Any]) -> Iterator[Any]:
    yield from first
    yield from rest


def _advance_sequence(connection: Connection, name: str) -> None:
    """Let the numbers of new rows go on after those that were put in: a PostgreSQL sequence saw none of them."""
    known = Base.metadata.tables.get(name)
    numbered = known.autoincrement_column if isinstance(known, Table) else None
    if connection.dialect.name != "postgresql" or known is None or numbered is None:
        return
    sequence = connection.scalar(select(func.pg_get_serial_sequence(name, numbered.name)))
    last = connection.scalar(select(func.max(numbered)))
    if sequence is not None and last is not None:
        connection.execute(select(func.setval(sequence, last)))


def _kind(known: Column[Any]) -> str:
    if isinstance(known.type, JSON):
        return JSON_TEXT
    return MOMENT if isinstance(known.type, UtcDateTime) else PLAIN


def _shown(known: Column[Any], kind: str, dialect: Dialect) -> Any:
    if kind != JSON_TEXT:
        return known
    # The text as it is stored: reading it as JSON could write it otherwise, and NULL is not the JSON null.
    return type_coerce(known, Text) if dialect.name == "sqlite" else cast(known, Text)


def _loaded(kind: str) -> TypeEngine[Any]:
    return UtcDateTime() if kind == MOMENT else Text() if kind == JSON_TEXT else NullType()


def _stored(name: str, kind: str, dialect: Dialect) -> Any:
    parameter = bindparam(PARAMETER + name, type_=_loaded(kind))
    return cast(parameter, JSON) if kind == JSON_TEXT and dialect.name != "sqlite" else parameter


def _value(value: Any, kind: str) -> Any:
    return datetime.fromisoformat(value) if kind == MOMENT and value is not None else value


def _line(document: Any) -> bytes:
    return (json.dumps(document, ensure_ascii=False) + "\n").encode()
