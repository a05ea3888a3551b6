"""The schema of a ledger's database: read its revision, check it, upgrade it."""

from dataclasses import dataclass

from ledger.config import Config
from ledger.service.ledger import create_ledger
from ledger.store.database.address import database_url
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import HEAD, check_schema, current_revision


@dataclass(frozen=True)
class SchemaState:
    """The schema revision of a database, and the one this release works with."""

    current: str | None
    """None if the database holds no ledger."""
    wanted: str


def schema_state(config: Config) -> SchemaState:
    """Return the schema revision of a ledger's database."""
    engine = open_engine(database_url(config))
    try:
        return SchemaState(current_revision(engine), HEAD)
    finally:
        engine.dispose()


def require_current_schema(config: Config) -> SchemaState:
    """Return the schema revision if this release can use the database as it is.

    Raises:
        SchemaVersionError: The database is empty, older, or newer than this release.
    """
    engine = open_engine(database_url(config))
    try:
        check_schema(engine)
    finally:
        engine.dispose()
    return SchemaState(HEAD, HEAD)


def upgrade(config: Config, actor: str) -> SchemaState:
    """Bring the schema of a ledger's database up to this release, in one transaction.

    Raises:
        SchemaVersionError: The database belongs to a newer release.
    """
    create_ledger(config, actor).close()
    return SchemaState(HEAD, HEAD)
