"""Entry point of alembic: uses the caller's connection, or ``-x url=...`` on the developer's command line."""

from alembic import context
from sqlalchemy import Connection

from ledger.store.database.engine import WRITER, open_engine
from ledger.store.database.schema import VERSION_TABLE
from ledger.store.database.tables import Base


def run(connection: Connection) -> None:
    """Run the migrations in the caller's transaction, schema changes included."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        transactional_ddl=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


shared = context.config.attributes.get("connection")
if shared is not None:
    run(shared)
else:
    engine = open_engine(context.get_x_argument(as_dictionary=True).get("url", "sqlite:///ledger.db"))
    try:
        with engine.execution_options(**{WRITER: True}).begin() as own:
            run(own)
    finally:
        engine.dispose()
