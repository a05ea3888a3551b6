"""Where a ledger's database is: an address made of its parts, never of pasted text.

The folder of a ledger may have any name. ``?``, ``#`` and ``%`` mean something in a URL, so a path is never put into
one as text.
"""

from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ledger.config import Config
from ledger.errors import UsageError

MEMORY = ":memory:"
ADDRESS = "file:"
"""How a database begins that SQLite itself reads as a URI."""


def read_url(text: str) -> URL:
    """Read a database URL that a person wrote.

    Raises:
        UsageError: It is not one.
    """
    try:
        return make_url(text)
    except (ArgumentError, ValueError) as error:
        raise UsageError(f"{text!r} is not a database URL: {error}") from error


def database_url(config: Config) -> URL:
    """Return the address of a ledger's database; a relative SQLite path counts from the ledger's folder.

    Raises:
        UsageError: ``unledger.toml`` does not name a database.
    """
    url = read_url(config.database)
    path = database_file(url)
    return url if path is None else url.set(database=str(config.root / path))


def sqlite_url(path: Path) -> URL:
    """Return the address of a SQLite file, whatever its name is."""
    return URL.create("sqlite", database=str(path))


def database_file(url: URL) -> Path | None:
    """Return the file of a SQLite database; None for other databases, and for one in memory or named by a URI."""
    database = url.database
    if url.get_backend_name() != "sqlite" or not database or database == MEMORY or database.startswith(ADDRESS):
        return None
    return Path(database)
