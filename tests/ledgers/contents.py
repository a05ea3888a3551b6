"""Everything a SQLite ledger holds, to compare before and after."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any


def ledger_contents(root: Path) -> dict[str, Any]:
    """Return what a ledger's folder holds: the rows of every table, and every object's digest."""
    with closing(sqlite3.connect(root / "ledger.db")) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        found: dict[str, Any] = {
            name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for (name,) in names.fetchall()
        }
    objects = sorted(path for path in (root / "objects").rglob("*") if path.is_file())
    found["objects"] = {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in objects}
    return found


@contextmanager
def unchanged_contents(root: Path) -> Iterator[None]:
    """Check that the block leaves every row and object of a ledger as it is."""
    before = ledger_contents(root)
    yield
    assert ledger_contents(root) == before
