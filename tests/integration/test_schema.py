"""Migrations: from nothing to the newest schema and back, and databases of other releases."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Column, Connection, Engine, inspect, text

from ledger.domain.models import NewModel
from ledger.domain.requests import Request
from ledger.errors import ConflictError, LedgerError, SchemaVersionError
from ledger.store.database import schema
from ledger.store.database.engine import WRITER, open_engine
from ledger.store.database.schema import HEAD, VERSION_TABLE, check_schema, current_revision, upgrade_schema
from ledger.store.database.tables import Base
from ledger.store.unit_of_work import Database
from tests.fixtures.events import any_event


@pytest.fixture
def scripts() -> Path:
    with as_file(files("ledger.migrations")) as folder:
        return folder


def config_for(scripts: Path, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def structure(engine: Engine) -> dict[str, Any]:
    """Return everything a schema consists of, in plain values."""
    inspector = inspect(engine)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            triggers = connection.execute(text("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"))
        else:
            triggers = connection.execute(
                text("SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal")
            )
        found = sorted(map(tuple, triggers))
    return {
        "triggers": found,
        **{
            name: (
                [{**c, "type": str(c["type"])} for c in inspector.get_columns(name)],
                inspector.get_pk_constraint(name),
                sorted(inspector.get_foreign_keys(name), key=str),
                sorted(inspector.get_indexes(name), key=str),
                sorted(inspector.get_unique_constraints(name), key=str),
            )
            for name in sorted(inspector.get_table_names())
        },
    }


@pytest.fixture
def engine(database_url: str) -> Any:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def test_the_release_knows_its_newest_migration(scripts: Path) -> None:
    directory = ScriptDirectory(str(scripts))
    assert directory.get_current_head() == HEAD
    assert [script.revision for script in directory.walk_revisions()][-1].startswith("r0001")


def test_an_empty_database_is_brought_to_the_newest_schema(engine: Engine) -> None:
    assert current_revision(engine) is None
    assert upgrade_schema(engine) == HEAD
    assert current_revision(engine) == HEAD
    check_schema(engine)


def json_defaults_differ(
    _context: object, _inspected: object, column: Column[Any], found: str | None, _default: object, wanted: str | None
) -> bool | None:
    """Compare the defaults of JSON columns as text, which PostgreSQL cannot as JSON; leave the others to alembic."""
    if not isinstance(column.type, JSON):
        return None
    return (found or "").partition("::")[0].strip("'") != (wanted or "").strip("'")


def test_migrations_and_tables_agree(engine: Engine) -> None:
    upgrade_schema(engine)
    options = {
        "version_table": VERSION_TABLE,
        "compare_type": True,
        "compare_server_default": json_defaults_differ,
    }
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []


def test_the_comparison_would_notice_a_difference(engine: Engine) -> None:
    upgrade_schema(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_notes ADD COLUMN extra INTEGER"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        (difference,) = compare_metadata(context, Base.metadata)
    assert difference[0] == "remove_column"


def test_upgrading_twice_changes_nothing(
    engine: Engine, new_model: Callable[..., NewModel], file_request: Callable[..., Request]
) -> None:
    upgrade_schema(engine)
    database = Database(engine)
    with database.write() as tx:
        filed = file_request(tx, tx.models.add(new_model()))
    before = structure(engine)
    assert upgrade_schema(engine) == HEAD
    assert structure(engine) == before
    with database.read() as tx:
        assert tx.requests.get(1) == filed


def test_a_populated_ledger_can_be_taken_down_and_set_up_again(
    engine: Engine,
    scripts: Path,
    new_model: Callable[..., NewModel],
    file_request: Callable[..., Request],
    when: datetime,
) -> None:
    upgrade_schema(engine)
    first = structure(engine)
    database = Database(engine)
    with database.write() as tx:
        file_request(tx, tx.models.add(new_model()))
        tx.audit.append(any_event("request.filed"), at=when, actor="alice", note="why")
    with (
        pytest.raises(ConflictError, match="covers labels of models"),
        engine.execution_options(**{WRITER: True}).begin() as connection,
    ):
        command.downgrade(config_for(scripts, connection), "base")
    with engine.execution_options(**{WRITER: True}).begin() as connection:
        # As if the model came from an earlier release.
        connection.execute(text("UPDATE models SET salt = ''"))
        command.downgrade(config_for(scripts, connection), "base")
    assert inspect(engine).get_table_names() == [VERSION_TABLE]
    assert current_revision(engine) is None
    with pytest.raises(SchemaVersionError):
        check_schema(engine)
    upgrade_schema(engine)
    assert structure(engine) == first
    with database.read() as tx:
        assert tx.models.all() == []
        assert tx.audit.verify().size == 0


def test_an_upgrade_that_fails_midway_leaves_nothing(engine: Engine) -> None:
    # A table of that name is already there, so one of the later statements fails.
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE versions (mine INTEGER)"))
    before = structure(engine)
    with pytest.raises(LedgerError, match="already exists"):
        upgrade_schema(engine)
    assert structure(engine) == before


@pytest.mark.parametrize("operation", [check_schema, upgrade_schema])
def test_a_database_of_a_newer_release_is_refused_and_left_as_it_is(
    engine: Engine, operation: Callable[[Engine], object]
) -> None:
    upgrade_schema(engine)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'r9999'"))
        connection.execute(text("ALTER TABLE models ADD COLUMN invented_later INTEGER"))
    before = structure(engine)
    with pytest.raises(SchemaVersionError, match="schema r9999, which this release does not know") as caught:
        operation(engine)
    assert "nothing was changed" in caught.value.hint
    assert caught.value.exit_code == 4
    assert structure(engine) == before
    assert current_revision(engine) == "r9999"


def test_a_database_without_a_ledger_is_refused_with_the_way_to_make_one(engine: Engine) -> None:
    with pytest.raises(SchemaVersionError, match="has no ledger in it") as caught:
        check_schema(engine)
    assert caught.value.hint == "run: unledger db upgrade"
    assert inspect(engine).get_table_names() == []


def test_a_database_of_an_older_release_is_refused_with_the_way_to_upgrade(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade_schema(engine)
    # As the next release will see it.
    monkeypatch.setattr(schema, "HEAD", "r9999")
    with pytest.raises(SchemaVersionError, match=f"at schema {HEAD}, this release wants r9999") as caught:
        check_schema(engine)
    assert caught.value.hint == "run: unledger db upgrade"


def test_migrations_that_do_not_fit_together_are_our_error(
    engine: Engine, scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "migrations"
    shutil.copytree(scripts, broken, ignore=shutil.ignore_patterns("__pycache__"))
    revision = (broken / "versions" / "r0001_initial.py").read_text()
    (broken / "versions" / "r9999_other.py").write_text(revision.replace('"r0001"', '"r9999"', 1))
    monkeypatch.setattr(schema, "files", lambda _package: broken)
    with pytest.raises(ConflictError, match="history cannot be followed: Multiple head revisions"):
        upgrade_schema(engine)
    assert inspect(engine).get_table_names() == []


def test_a_developer_can_migrate_with_alembics_own_command(engine: Engine, database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "-x", f"url={database_url}", "upgrade", "head"],
        cwd=Path(__file__).parents[2],  # where pyproject.toml says where the migrations are
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_schema(engine)
