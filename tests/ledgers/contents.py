"""Everything a SQLite ledger holds, to compare before and after."""

import hashlib
import sqlite3
from contextlib import closing
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
