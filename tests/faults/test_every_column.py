"""Every column of every table, changed behind the ledger's back: found and named, or declared to be no evidence."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ledger.certificates.dsse import statement_of
from ledger.certificates.statement import substance
from ledger.digest import canonical_json
from ledger.domain.access import ALL_SCOPES, Scope
from ledger.domain.events.versions import VersionExported
from ledger.domain.requests import NewRequest
from ledger.errors import IntegrityError, LedgerError
from ledger.service.access.tokens import create_token, revoke_token
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.audit.verification import verify_log
from ledger.service.backups.backup import back_up
from ledger.service.backups.restore import restore
from ledger.service.computation import retained_sums
from ledger.service.evidence.certificates import issue
from ledger.service.evidence.evaluation import evaluate
from ledger.service.progress import Silent
from ledger.service.requests.filing import enqueue
from ledger.service.requests.worker import work
from ledger.service.upkeep.fsck import fsck
from ledger.service.upkeep.purge import plan_purge, purge
from ledger.service.versions.export import export
from ledger.service.webhooks.registration import add_webhook
from ledger.store.database.tables import Base
from ledger.store.replay.differences import NOT_EVIDENCE
from tests.ledgers.desk import MODEL, Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fixtures.databases import PostgresServer
    from tests.fixtures.trained_digits import TrainedDigits

# Tables that no entry of the log speaks of, and why none needs to.
NOT_IN_THE_LOG = {
    "blob_leases": "promises of the next minutes; garbage collection alone asks for them",
    "workers": "who said lately that they are there; nothing rests on it",
    "checkpoints": "each signs itself, and the newest is kept beside the key",
    "web_sessions": "each is sealed, opened and ended by an entry, and ends within hours by itself",
    "login_links": "sealed like sessions; good for one login within minutes",
    "webhook_deliveries": "messages on their way; the log itself tells of every event",
    "jobs": "sealed; a request is bound to the preview itself by its digest, a withdrawal to the request as it was",
}
# Columns of the log itself that its verification does not need.
FREE = {
    ("audit_head", "id"): "the number of the only row",
    ("audit_subtrees", "level"): "found where it is asked for",
    ("audit_subtrees", "position"): "found where it is asked for",
}
FULL_SIZE = os.environ.get("FULL_SIZE") == "1"
# By type, in place of NULL.
FIRST_VALUES = {
    **dict.fromkeys(("integer", "bigint", "double precision"), "1"),
    "timestamp without time zone": "2031-01-01 00:00:00",
    "json": '{"x": 1}',
}
OTHER_TRUTH = {"true": "false", "false": "true"}
COLUMNS = sorted((table.name, column.name) for table in Base.metadata.sorted_tables for column in table.columns)


def test_the_documentation_lists_what_is_not_found() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    part = page.partition("## What nobody notices")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^\| `(.*)` \| (.*) \|$", part, re.MULTILINE))
    columns = {f"{table}.{column}": reason for (table, column), reason in {**NOT_EVIDENCE, **FREE}.items()}
    assert listed == {**NOT_IN_THE_LOG, **columns}


@pytest.fixture(scope="module")
def _whole_life(tmp_path_factory: pytest.TempPathFactory, trained_digits: TrainedDigits) -> Path:
    """A ledger in which everything happened once that leaves a row: also evidence, a certificate and a purge."""
    root = tmp_path_factory.mktemp("life") / "ledger"
    with pytest.MonkeyPatch.context() as patch:
        # In a network as small as this, sums save little.
        patch.setattr(retained_sums, "LEAST_SAVING", 0)
        return _lived(root, trained_digits)


def _lived(root: Path, trained_digits: TrainedDigits) -> Path:
    desk = Desk.create(root, trained_digits)
    desk.register("other")
    desk.register(MODEL)
    enqueue(desk.ledger, MODEL, [NewRequest(frozenset({3}), "tester", "asked to", idempotency_key="first")])
    desk.work()
    desk.later()
    desk.forget(7)
    evaluate(desk.ledger, MODEL, None, Silent(), only=["accuracy", "confusion"], train_per_class=1)
    issue(desk.ledger, 2)
    desk.later()
    desk.roll_back(1)
    desk.retry(2)
    desk.later()
    plan = plan_purge(desk.ledger, MODEL, desk.now - desk.now)
    purge(desk.ledger, plan, desk.now - desk.now, Silent(), clock_is_right=True)
    # So many entries that the log stores a subtree.
    with desk.ledger.database.write() as tx:
        for _ in range(256):
            handed_out = VersionExported(version=4, weights=desk.live().weights)
            tx.audit.append(handed_out, at=desk.now, actor="tester", model=MODEL)
    issue_checkpoint(desk.ledger)
    token, _ = create_token(desk.ledger, "ci", ALL_SCOPES, desk.now + timedelta(days=7))
    revoke_token(desk.ledger, token.id)
    create_token(desk.ledger, "cd", {Scope.READ})
    add_webhook(desk.ledger, "https://receiver.invalid/hook", ["request.*"])
    desk.file(8)
    desk.close()
    return root


@pytest.fixture(scope="module")
def _whole_life_on_a_server(
    _whole_life: Path,
    postgres_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
    trained_digits: TrainedDigits,
) -> tuple[Path, str]:
    """The same ledger on PostgreSQL, with the URL of its database."""
    backup, keys = tmp_path_factory.mktemp("backup"), tmp_path_factory.mktemp("keys")
    desk = Desk(_whole_life, trained_digits)
    back_up(desk.ledger, str(backup), Silent(), keys=keys)
    desk.close()
    root, url = tmp_path_factory.mktemp("server") / "ledger", postgres_server.borrow_database()
    restore(str(backup), root, Silent(), database=url, keys=keys)
    return root, url


@pytest.fixture
def kind() -> str:
    """Which database; most tests are told."""
    return "sqlite"


@pytest.fixture
def whole_life(
    kind: str, _whole_life: Path, tmp_path: Path, trained_digits: TrainedDigits, request: pytest.FixtureRequest
) -> Iterator[Desk]:
    root = tmp_path / "ledger"
    if kind == "sqlite":
        shutil.copytree(_whole_life, root)
        desk = Desk(root, trained_digits)
        yield desk
        desk.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    made, url = request.getfixturevalue("_whole_life_on_a_server")
    shutil.copytree(made, root)
    copy, settings = server.copy_database(url), root / "unledger.toml"
    settings.write_text(settings.read_text().replace(url, copy))
    desk = Desk(root, trained_digits)
    assert str(desk.ledger.database.engine.url.database) in copy
    yield desk
    desk.close()
    server.drop_database(copy)


def other(value: Any) -> Any:
    """Return another value of the same kind."""
    if value is None:
        return "2031-01-01 00:00:00.000000"
    if isinstance(value, int | float):
        return value + 1
    if re.fullmatch(r"\d{4}-\d\d-\d\d .*", value):
        return "2031-01-01 00:00:00.000000"
    try:
        parsed = json.loads(value)
    except ValueError:
        return f"{value}x" if not re.fullmatch("[0-9a-f]{64}", value) else "0" * 64
    if isinstance(parsed, list):
        return json.dumps(parsed[::-1] if parsed != parsed[::-1] else [*parsed, 1])
    if isinstance(parsed, dict):
        return json.dumps({**parsed, "x": 1})
    return f"{value}1"


def change(desk: Desk, table: str, column: str) -> bool:
    """Change a column of the last row of a table; return whether there was one that the database lets be changed."""
    if desk.ledger.database.engine.dialect.name == "postgresql":
        return _change_on_server(desk, table, column)
    with closing(sqlite3.connect(desk.root / "ledger.db", isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("PRAGMA foreign_keys = OFF")
        filled = f"SELECT rowid, {column} FROM {table} ORDER BY {column} IS NULL, rowid DESC LIMIT 1"
        row = connection.execute(filled).fetchone()
        if row is None:
            return False
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (other(row[1]), row[0]))
        return True


def _change_on_server(desk: Desk, table: str, column: str) -> bool:
    with desk.ledger.database.engine.begin() as connection:
        # No triggers, no foreign keys.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        row = connection.execute(
            text(
                f"SELECT CAST(ctid AS text), CAST({column} AS text), CAST(pg_typeof({column}) AS text) FROM {table} "
                f"ORDER BY {column} IS NULL, ctid DESC LIMIT 1"
            )
        ).one_or_none()
        if row is None:
            return False
        place, value, kind = row
        if value is None:
            changed = FIRST_VALUES.get(kind, "x")
        elif kind == "character varying":
            # No longer than before: the server counts.
            changed = value[:-1] + ("y" if value.endswith("x") else "x")
        else:
            changed = OTHER_TRUTH.get(value) or other(value)
        connection.execute(
            text(f"UPDATE {table} SET {column} = CAST(:value AS {kind}) WHERE ctid = CAST(:place AS tid)"),
            {"value": changed, "place": place},
        )
        return True


def found(desk: Desk) -> str:
    """Return what ``fsck`` says, and ``audit verify``."""
    said = [f"{one.what} {one.detail}" for one in fsck(desk.ledger, Silent()).findings if one.severe]
    try:
        verify_log(desk.ledger)
    except IntegrityError as error:
        said.append(error.message)
    return "\n".join(said)


def test_an_honest_life_is_found_clean(whole_life: Desk) -> None:
    assert found(whole_life) == ""


def cases(columns: list[tuple[str, str]], sqlite: int, server: int) -> list[Any]:
    """Return database, table and column of each case: every so many columns of each database, all at full size."""
    chosen = [
        *(("sqlite", *one) for number, one in enumerate(columns) if FULL_SIZE or number % sqlite == 0),
        *(("postgresql", *one) for number, one in enumerate(columns) if FULL_SIZE or number % server == 0),
    ]
    return [pytest.param(*one, marks=[pytest.mark.postgres] if one[0] == "postgresql" else []) for one in chosen]


@pytest.mark.parametrize(("kind", "table", "column"), cases(COLUMNS, 1, 7))
def test_a_changed_column_is_found_or_declared(whole_life: Desk, table: str, column: str) -> None:
    there = change(whole_life, table, column)
    if table in NOT_IN_THE_LOG or (table, column) in NOT_EVIDENCE or (table, column) in FREE:
        return
    assert there, f"the life leaves no row in {table}: this column was never tried"
    said = found(whole_life)
    assert said, f"{table}.{column} was changed, and nobody noticed"
    assert table in said or table.startswith("audit_"), said


def signed_and_handed_out(desk: Desk, folder: Path) -> tuple[str, bytes]:
    """Return what a certificate says of request 2, and the bytes of the live version as exported."""
    issued = issue(desk.open_again(), 2, renew=True, new_salt=lambda: b"s" * 32)
    statement = substance(statement_of(json.loads(issued.certificate.envelope)))
    export(desk.open_again(), MODEL, None, folder)
    return canonical_json(statement).decode(), (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def unchanged(
    _whole_life: Path, tmp_path_factory: pytest.TempPathFactory, trained_digits: TrainedDigits
) -> tuple[str, bytes]:
    root = tmp_path_factory.mktemp("unchanged") / "ledger"
    shutil.copytree(_whole_life, root)
    desk = Desk(root, trained_digits)
    said = signed_and_handed_out(desk, root.parent / "exported")
    desk.close()
    return said


@pytest.mark.parametrize(("kind", "table", "column"), cases(COLUMNS, 4, 17))
def test_nothing_changed_is_signed_or_handed_out(
    whole_life: Desk, tmp_path: Path, unchanged: tuple[str, bytes], table: str, column: str
) -> None:
    change(whole_life, table, column)
    with suppress(LedgerError):
        assert signed_and_handed_out(whole_life, tmp_path / "exported") == unchanged


COMPUTED_FROM = ("models", "requests", "versions", "aliases", "class_spaces", "kept_results", "basis_terms")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "table", "column"), cases([one for one in COLUMNS if one[0] in COMPUTED_FROM], 6, 29))
def test_nothing_changed_is_carried_out(whole_life: Desk, carried_out: str, table: str, column: str) -> None:
    change(whole_life, table, column)
    try:
        outcomes = list(work(whole_life.open_again(), Silent(), model_name=MODEL))
    except LedgerError:
        return
    assert [one.version.weights for one in outcomes if one.version] in ([carried_out], [])


@pytest.fixture(scope="module")
def carried_out(_whole_life: Path, tmp_path_factory: pytest.TempPathFactory, trained_digits: TrainedDigits) -> str:
    """The weights that request 3 leads to when nothing was changed."""
    root = tmp_path_factory.mktemp("carried") / "ledger"
    shutil.copytree(_whole_life, root)
    desk = Desk(root, trained_digits)
    [done] = desk.work(MODEL)
    desk.close()
    assert done.version is not None
    return done.version.weights
