"""Golden ledgers of earlier schemas, and every revision up, down and up again with data, killed at any statement."""

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from ledger.plugins.solvers.projection import ProjectionSolver
from sqlalchemy import Engine, MetaData, create_engine, event, func, inspect, select, text

from ledger.audit.merkle import Frontier
from ledger.config import create_config, find_config
from ledger.domain.states import Action, RequestState
from ledger.errors import ConflictError, RowError, SchemaVersionError
from ledger.service.audit.adoption import adopt, plan_adoption
from ledger.service.audit.replay import differences
from ledger.service.computation.class_space_cache import ClassSpaceCache
from ledger.service.computation.workbench import open_workbench
from ledger.service.ledger import create_ledger, open_ledger
from ledger.service.progress import Silent
from ledger.service.requests.decisions import decide
from ledger.service.requests.worker import work
from ledger.store.database.engine import WRITER, open_engine
from ledger.store.database.schema import HEAD, VERSION_TABLE, check_schema, current_revision, upgrade_schema
from ledger.store.unit_of_work import Database

# Read once at import: tests run with the environment guarded.
FULL_SIZE = os.environ.get("FULL_SIZE") == "1"
GOLDEN = sorted(path.parent for path in (Path(__file__).parents[1] / "golden").glob("*/ledger.sql"))
REVISIONS = ("r0001", "r0002", "r0003")
"""In order; a test compares the last with the release's."""

Rows = dict[str, list[tuple[Any, ...]]]


def migrate(engine: Engine, act: Callable[[Config], None]) -> None:
    """Run an alembic command as the ledger does: in one write transaction."""
    with (
        as_file(files("ledger.migrations")) as scripts,
        engine.execution_options(**{WRITER: True}).begin() as connection,
    ):
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        act(config)


def go_to(engine: Engine, revision: str) -> None:
    """Bring the schema up or down to a revision."""
    current = current_revision(engine)
    up = current is None or revision > current
    migrate(engine, lambda config: (command.upgrade if up else command.downgrade)(config, revision))


def rows(engine: Engine, *, ignoring: tuple[str, ...] = (VERSION_TABLE,)) -> Rows:
    """Return every row of every table, with its column names first."""
    metadata = MetaData()
    metadata.reflect(engine)
    found: Rows = {}
    with engine.connect() as connection:
        for name, table in metadata.tables.items():
            if name not in ignoring:
                ordered = sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                found[name] = [tuple(sorted(table.columns.keys())), *ordered]
    return found


def root_of(engine: Engine) -> tuple[int, str]:
    """Return the size and root of the Merkle tree over the entries there are, whatever the schema says of it."""
    frontier = Frontier()
    with engine.connect() as connection:
        for (digest,) in connection.execute(text("SELECT digest FROM audit_events ORDER BY seq")).all():
            frontier, _ = frontier.append(bytes.fromhex(digest))
    return frontier.size, frontier.root.hex()


@dataclass
class Restored:
    """A golden ledger put in place, at the schema of its time."""

    root: Path
    engine: Engine
    expected: dict[str, Any]


@pytest.fixture(params=GOLDEN, ids=lambda path: path.name)
def golden(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Restored]:
    """Each golden ledger, on each kind of database."""
    kept: Path = request.param
    root = tmp_path / "ledger"
    create_config(root, database_url, "objects")
    for folder in ("objects", "keys"):
        if (kept / folder).exists():
            shutil.copytree(kept / folder, root / folder)
    for path in (root / "keys").rglob("*"):
        # A checkout does not keep who may read them.
        path.chmod(0o700 if path.is_dir() else 0o600)
    expected = json.loads((kept / "expected.json").read_text())
    engine = open_engine(database_url)
    if engine.dialect.name == "sqlite":
        fill_sqlite(Path(engine.url.database or ""), kept)
    else:
        fill_postgres(engine, kept, tmp_path, expected["schema"])
    monkeypatch.syspath_prepend(kept)
    yield Restored(root, engine, expected)
    engine.dispose()


def fill_sqlite(path: Path, kept: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((kept / "ledger.sql").read_text())
        connection.commit()


def fill_postgres(engine: Engine, kept: Path, folder: Path, revision: str) -> None:
    """Set the schema of that time up and copy the rows over from SQLite."""
    fill_sqlite(folder / "golden.db", kept)
    go_to(engine, revision)
    source = create_engine(f"sqlite:///{folder / 'golden.db'}")
    here, there = MetaData(), MetaData()
    here.reflect(source)
    there.reflect(engine)
    with source.connect() as old, engine.begin() as new:
        new.execute(there.tables["audit_head"].delete())
        for table in there.sorted_tables:
            found = [dict(row._mapping) for row in old.execute(select(here.tables[table.name]))]
            if table.name != VERSION_TABLE and found:
                new.execute(table.insert(), found)
        for name in ("models", "class_spaces", "evidence", "alias_moves"):
            highest = select(func.coalesce(func.max(there.tables[name].c.id), 1)).scalar_subquery()
            new.execute(select(func.setval(func.pg_get_serial_sequence(name, "id"), highest)))
    source.dispose()


# -- golden ledgers -----------------------------------------------------------------------------------


def test_there_is_a_golden_ledger_of_every_schema_but_the_newest() -> None:
    assert REVISIONS[-1] == HEAD
    assert set(REVISIONS[:-1]) <= {path.name for path in GOLDEN}
    for path in GOLDEN:
        assert json.loads((path / "expected.json").read_text())["schema"] == path.name


def test_a_golden_ledger_is_upgraded_and_says_what_it_said(golden: Restored) -> None:
    before, root = rows(golden.engine), root_of(golden.engine)
    config = find_config(golden.root)
    if golden.expected["schema"] != HEAD:
        with pytest.raises(SchemaVersionError, match="this release wants"):
            check_schema(golden.engine)
    create_ledger(config, "tester").close()
    ledger = open_ledger(config, "tester")
    with ledger.database.read() as tx:
        head = tx.audit.verify()
        model = tx.models.get("digits")
        versions, live = tx.versions.all(model), tx.versions.live(model)
        requests = tx.requests.all()
        assert tx.objects.kept()
        for digest, size, _ in tx.objects.kept():
            assert len(ledger.objects.get(digest)) == size
    assert f"{head.size}:{head.digest}" == golden.expected["head"]
    assert root_of(golden.engine) == root
    assert [
        {
            "version": version.number,
            "kind": version.kind.value,
            "parent": version.parent,
            "forgotten": list(model.labels.names(version.forgotten)),
            "weights": version.weights,
            "live": version == live,
        }
        for version in versions
    ] == golden.expected["versions"]
    assert {str(request.id): request.state.value for request in requests} == golden.expected["requests"]
    after = rows(golden.engine)
    for name in ("audit_events", "audit_notes", "requests", "basis_terms", "alias_moves"):
        assert after[name] == before[name]
    # Evidence says now what the log says that it was compared with.
    assert after["evidence"][0] == tuple(sorted({*before["evidence"][0], "provenance"}))
    assert [row[:-1] for row in after["evidence"][1:]] == before["evidence"][1:]
    assert [row[-1] for row in after["evidence"][1:]] == [{"against": "base"}] * (len(after["evidence"]) - 1)
    # Class spaces are as they were, and all from the registered weights.
    assert after["class_spaces"][0] == tuple(sorted({*before["class_spaces"][0], "anchor"}))
    anchor = () if "anchor" in before["class_spaces"][0] else (0,)
    assert [(*row, *anchor) for row in before["class_spaces"][1:]] == after["class_spaces"][1:]
    if golden.engine.dialect.name == "sqlite":
        with golden.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    ledger.close()


def test_the_tree_that_an_upgrade_grows_is_the_one_over_the_old_entries(golden: Restored) -> None:
    size, root = root_of(golden.engine)
    upgrade_schema(golden.engine)
    with golden.engine.connect() as connection:
        assert connection.execute(text("SELECT size, root FROM audit_head")).one() == (size, root)


def test_work_goes_on_in_an_upgraded_ledger(golden: Restored) -> None:
    create_ledger(find_config(golden.root), "tester").close()
    ledger = open_ledger(find_config(golden.root), "tester", device="cpu")
    # What the old release stored without a digest in any entry: nothing rests on it before somebody says that it holds.
    with pytest.raises(RowError, match="covers whole") as refused:
        decide(ledger, 2, Action.RETRY, "once more")
    assert refused.value.exit_code == 5
    adopt(ledger, plan_adoption(ledger, "digits"), "compared with the backup")
    assert plan_adoption(ledger, "digits").rows == ()
    decide(ledger, 2, Action.RETRY, "once more")
    outcomes = list(work(ledger, Silent()))
    assert [(done.request.id, done.request.state) for done in outcomes] == [
        (2, RequestState.FULFILLED),
        (3, RequestState.FULFILLED),
    ]
    with ledger.database.read() as tx:
        live = tx.versions.live(tx.models.get("digits"))
        tx.audit.verify()
    assert live.forgotten == {3, 5, 7, 8}
    # What the old release collected is not collected again; 7 is forgotten for the first time.
    assert differences(ledger) == []
    with ledger.database.read() as tx:
        since = list(tx.audit.events(after=int(golden.expected["head"].partition(":")[0])))
    assert [entry.data["class"] for entry in since if entry.kind == "class_space.collected"] == [7]
    ledger.close()


def test_class_spaces_of_an_earlier_release_are_collected_again_only_for_a_solver_that_needs_means(
    golden: Restored, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_ledger(find_config(golden.root), "tester").close()
    ledger = open_ledger(find_config(golden.root), "tester", device="cpu")
    adopt(ledger, plan_adoption(ledger, "digits"), "compared with the backup")
    cache, forgotten = ClassSpaceCache(open_workbench(ledger, "digits")), frozenset({3})
    before = list(cache.collect_and_store(forgotten, Silent()))
    assert {one.statistics.prediction for one in before} == {None}

    monkeypatch.setattr(ProjectionSolver, "needs_means", True, raising=False)
    cache = ClassSpaceCache(open_workbench(ledger, "digits"))
    after = list(cache.collect_and_store(forgotten, Silent()))
    assert all(one.statistics.prediction is not None for one in after)
    assert [one.record.samples_digest for one in after] == [one.record.samples_digest for one in before]
    assert {one.record.id for one in after}.isdisjoint(one.record.id for one in before)
    assert all(one.record.object_digest in ledger.objects for one in before)
    assert differences(ledger) == []
    ledger.close()


# -- up, down, up -------------------------------------------------------------------------------------


def test_every_revision_goes_down_and_up_again_with_data(golden: Restored) -> None:
    start = REVISIONS.index(golden.expected["schema"])
    seen = {REVISIONS[start]: (rows(golden.engine), structure(golden.engine))}
    root = root_of(golden.engine)
    for revision in REVISIONS[start + 1 :]:
        go_to(golden.engine, revision)
        seen[revision] = rows(golden.engine), structure(golden.engine)
    for revision in [*reversed(REVISIONS[start:-1]), *REVISIONS[start + 1 :]]:
        go_to(golden.engine, revision)
        assert current_revision(golden.engine) == revision
        assert (rows(golden.engine), structure(golden.engine)) == seen[revision]
        assert root_of(golden.engine) == root
    database = Database(golden.engine)
    with database.read() as tx:
        assert tx.audit.verify().size == root[0]


def structure(engine: Engine) -> list[tuple[str, ...]]:
    """Return the names of all tables, indexes, triggers and functions."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            return sorted(map(tuple, connection.execute(text("SELECT type, name, tbl_name FROM sqlite_master"))))
        triggers = connection.execute(
            text("SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal")
        )
        functions = connection.execute(
            text("SELECT proname, 'function' FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
        )
        found = [tuple(row) for row in (*triggers, *functions)]
    return sorted(found + [("table", name) for name in inspect(engine).get_table_names()])


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("purged objects", "UPDATE blobs SET destroyed_at = '2026-01-01 00:00:00'"),
        (
            "checkpoints",
            "INSERT INTO checkpoints (id, size, root, note, created_at) VALUES (1, 1, 'r', 'n', '2026-01-01 00:00:00')",
        ),
        (
            "certificates",
            "INSERT INTO certificates (id, request_id, version, envelope, audit_seq, created_at) VALUES "  # noqa: ISC004
            "(1, 1, 1, '{}', 1, '2026-01-01 00:00:00')",
        ),
    ],
)
def test_a_downgrade_that_would_lose_evidence_is_refused(golden: Restored, what: str, statement: str) -> None:
    go_to(golden.engine, "r0002")
    with golden.engine.begin() as connection:
        connection.execute(text(statement))
    before = rows(golden.engine), structure(golden.engine)
    with pytest.raises(ConflictError, match=what):
        go_to(golden.engine, "r0001")
    assert (rows(golden.engine), structure(golden.engine)) == before
    assert current_revision(golden.engine) == "r0002"


def test_alembics_own_check_finds_models_and_migrations_equal(database_url: str) -> None:
    engine = open_engine(database_url)
    upgrade_schema(engine)
    migrate(engine, command.check)
    engine.dispose()


# -- killed -------------------------------------------------------------------------------------------


def migrate_in_a_child(url: str, revision: str, fatal: int) -> int | None:
    """Migrate in a child process that kills itself at a statement; return how many it executed if it lived."""
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            engine = open_engine(url)
            executed = 0

            def count(*_: object) -> None:
                nonlocal executed
                executed += 1
                if executed == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)

            event.listen(engine, "before_cursor_execute", count)
            event.listen(engine, "commit", count)
            go_to(engine, revision)
            os.write(say, str(executed).encode())
        os._exit(0)
    os.close(say)
    _, status = os.waitpid(child, 0)
    with os.fdopen(hear) as pipe:
        answer = pipe.read()
    assert os.WIFSIGNALED(status) == (answer == "")
    return int(answer) if answer else None


def test_a_migration_killed_at_any_statement_leaves_what_was_there(golden: Restored, database_url: str) -> None:
    """Up and down; what is left upgrades, and the history verifies under the root it had."""
    root = root_of(golden.engine)
    old, new = REVISIONS[-2:]
    go_to(golden.engine, old)
    contents = {old: (rows(golden.engine), structure(golden.engine))}
    go_to(golden.engine, new)
    contents[new] = (rows(golden.engine), structure(golden.engine))
    golden.engine.dispose()
    points = 0
    for here, there in ((new, old), (old, new)):
        killed, statement = 0, 1
        while migrate_in_a_child(database_url, there, statement) is None:
            killed += 1
            # The dead process's connection may not have been cleared away yet: looking waits for it.
            assert current_revision(golden.engine) == here
            assert root_of(golden.engine) == root
            if FULL_SIZE or killed % 8 == 1:
                assert (rows(golden.engine), structure(golden.engine)) == contents[here]
                go_to(golden.engine, there)
                assert (rows(golden.engine), structure(golden.engine)) == contents[there]
                go_to(golden.engine, here)
            golden.engine.dispose()
            statement += 1 if FULL_SIZE or killed < 8 else 3
        assert current_revision(golden.engine) == there
        assert (rows(golden.engine), structure(golden.engine)) == contents[there]
        points += killed
    sys.stdout.write(f"{points} kills\n")
    # Of this revision: reading where the schema is, a column, an index, writing where it is.
    assert points >= 12
    database = Database(golden.engine)
    with database.read() as tx:
        assert tx.audit.verify().size == root[0]
