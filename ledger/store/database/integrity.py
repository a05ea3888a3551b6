"""What a database finds wrong with itself."""

from sqlalchemy import Engine, text

from ledger.errors import LedgerError

from .engine import translated

MOST = 20
"""Problems named; a broken page can cause thousands."""


def database_problems(engine: Engine) -> list[str]:
    """Return what SQLite finds wrong with its file, and rows that refer to rows which are not there.

    PostgreSQL checks its pages when it reads them, where data checksums are on, and enforces references always.
    """
    if engine.dialect.name != "sqlite":
        return []
    try:
        with translated(), engine.connect() as connection:
            found = [str(row[0]) for row in connection.execute(text(f"PRAGMA integrity_check({MOST})"))]
            lost = connection.execute(text("PRAGMA foreign_key_check")).fetchmany(MOST)
    except LedgerError as error:
        return [error.message]
    dangling = [f"row {row} of {table} refers to a row of {parent} that is not there" for table, row, parent, _ in lost]
    return [problem for problem in found if problem != "ok"] + dangling
