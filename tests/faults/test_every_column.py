"""Every column of every table, changed behind the ledger's back: found and named, or declared to be no evidence."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from ledger.certificates.dsse import statement_of
from ledger.certificates.statement import substance
from ledger.digest import canonical_json
from ledger.domain.events.versions import VersionExported
from ledger.domain.requests import NewRequest
from ledger.errors import IntegrityError, LedgerError
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.audit.verification import verify_log
from ledger.service.evidence.certificates import issue
from ledger.service.evidence.evaluation import evaluate
from ledger.service.progress import Silent
from ledger.service.requests.filing import enqueue
from ledger.service.requests.worker import work
from ledger.service.upkeep.fsck import fsck
from ledger.service.upkeep.purge import plan_purge, purge
from ledger.service.versions.export import export
from ledger.store.database.tables import Base
from ledger.store.replay.differences import NOT_EVIDENCE
from tests.ledgers.desk import MODEL, Desk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fixtures.trained_digits import TrainedDigits

# Tables that no entry of the log speaks of, and why none needs to.
NOT_IN_THE_LOG = {
    "blob_leases": "promises of the next minutes; garbage collection alone asks for them",
    "workers": "who said lately that they are there; nothing rests on it",
    "checkpoints": "each signs itself, and the newest is kept beside the key",
}
# Columns of the log itself that its verification does not need.
FREE = {
    ("audit_head", "id"): "the number of the only row",
    ("audit_subtrees", "level"): "found where it is asked for",
    ("audit_subtrees", "position"): "found where it is asked for",
}
COLUMNS = sorted((table.name, column.name) for table in Base.metadata.sorted_tables for column in table.columns)


@pytest.fixture(scope="module")
def _whole_life(tmp_path_factory: pytest.TempPathFactory, trained_digits: TrainedDigits) -> Path:
    """A ledger in which everything happened once that leaves a row: also evidence, a certificate and a purge."""
    root = tmp_path_factory.mktemp("life") / "ledger"
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
    desk.file(8)
    desk.close()
    return root


@pytest.fixture
def whole_life(_whole_life: Path, tmp_path: Path, trained_digits: TrainedDigits) -> Iterator[Desk]:
    root = tmp_path / "ledger"
    shutil.copytree(_whole_life, root)
    desk = Desk(root, trained_digits)
    yield desk
    desk.close()


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


def change(root: Path, table: str, column: str) -> bool:
    """Change a column of the last row of a table; return whether there was one."""
    with closing(sqlite3.connect(root / "ledger.db", isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("PRAGMA foreign_keys = OFF")
        filled = f"SELECT rowid, {column} FROM {table} ORDER BY {column} IS NULL, rowid DESC LIMIT 1"
        row = connection.execute(filled).fetchone()
        if row is None:
            return False
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (other(row[1]), row[0]))
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


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_changed_column_is_found_or_declared(whole_life: Desk, table: str, column: str) -> None:
    there = change(whole_life.root, table, column)
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


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_nothing_changed_is_signed_or_handed_out(
    whole_life: Desk, tmp_path: Path, unchanged: tuple[str, bytes], table: str, column: str
) -> None:
    change(whole_life.root, table, column)
    with suppress(LedgerError):
        assert signed_and_handed_out(whole_life, tmp_path / "exported") == unchanged


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "column"),
    [one for one in COLUMNS if one[0] in ("models", "requests", "versions", "aliases", "class_spaces", "basis_terms")],
)
def test_nothing_changed_is_carried_out(whole_life: Desk, carried_out: str, table: str, column: str) -> None:
    change(whole_life.root, table, column)
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
