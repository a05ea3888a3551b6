"""Signing, witnessing, exporting and replaying a ledger that lived; and the ``audit`` commands on top."""

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ledger.cli.main import app
from sqlalchemy import JSON
from typer.testing import CliRunner, Result

from ledger.domain.states import RequestState
from ledger.errors import (
    AuditError,
    ConflictError,
    KeysError,
    LedgerError,
    NotFoundError,
    OlderDatabaseError,
    RefusedError,
    SignatureError,
    UsageError,
)
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.audit.copies import create_archive, export_log, import_log, witness
from ledger.service.audit.proofs import prove
from ledger.service.audit.replay import differences, replay
from ledger.service.audit.verification import kept_text, verify_log
from ledger.service.ledger import open_ledger
from ledger.service.requests.listing import list_requests
from ledger.service.signing import FILE, MEMORY, create_signer, load_signer
from ledger.store.database.tables import UtcDateTime
from ledger.store.replay.differences import DIGESTED, NOT_EVIDENCE
from ledger.store.replay.replayed import KEYS, Replayed
from ledger.store.repositories.projections import TABLES, columns
from tests.faults.intruder import Intruder
from tests.faults.story import START, Story
from tests.fixtures.events import any_event

Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger in which a good deal happened; nothing is signed yet."""
    story = Story(tmp_path_factory.mktemp("lived") / "ledger", random.Random(5))
    story.file()
    story.live(25)
    story.close()
    return story.root


@pytest.fixture
def story(lived: Path, tmp_path: Path) -> Iterator[Any]:
    """A copy of it to go on with."""
    shutil.copytree(lived, tmp_path / "ledger")
    copy = Story(tmp_path / "ledger", random.Random(0), START + timedelta(days=30))
    yield copy
    copy.close()


@pytest.fixture
def run(story: Any) -> Invoke:
    """Run a command on the ledger; it must end with an exit code."""

    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["--ledger", str(story.root), *arguments])
        assert result.exit_code == code, result.output
        return result

    return invoke


def execute(root: Path, *statements: str) -> None:
    """Change the database past the ledger, triggers and all."""
    with closing(sqlite3.connect(root / "ledger.db", isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)


# -- the key ------------------------------------------------------------------------------------------


def test_a_ledger_is_born_with_a_key_that_its_first_entry_names(story: Any) -> None:
    path = story.ledger.config.keys_path / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    signer = load_signer(story.ledger.config)
    assert signer.name.startswith("unledger/")
    assert create_signer(story.ledger.config).verifier == signer.verifier
    with story.ledger.database.read() as tx:
        first = next(tx.audit.events())
    assert first.data == {"key": str(signer.verifier)}
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(story: Any, mode: int) -> None:
    (story.ledger.config.keys_path / FILE).chmod(mode)
    for act in (load_signer, create_signer):
        with pytest.raises(RefusedError, match="may be read by others") as caught:
            act(story.ledger.config)
        assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("text", ["", "x", "PRIVATE+KEY+a+b+c", "PRIVATE+KEY+a+00000000+" + "A" * 44])
def test_a_file_that_is_no_key_is_refused(story: Any, text: str) -> None:
    (story.ledger.config.keys_path / FILE).write_text(text)
    with pytest.raises(SignatureError, match="holds no signing key"):
        load_signer(story.ledger.config)


def test_a_lost_key_is_not_replaced_once_something_was_signed(story: Any) -> None:
    issue_checkpoint(story.ledger)
    (story.ledger.config.keys_path / FILE).unlink()
    with pytest.raises(KeysError, match="no signing key"):
        issue_checkpoint(story.ledger)
    assert verify_log(story.ledger).signed == 0


# -- checkpoints --------------------------------------------------------------------------------------


def test_a_checkpoint_signs_what_there_is_once(story: Any) -> None:
    first = issue_checkpoint(story.ledger)
    assert first.size == story.size
    assert issue_checkpoint(story.ledger) == first
    story.chat(3)
    second = issue_checkpoint(story.ledger)
    assert second.size == first.size + 3
    with story.ledger.database.read() as tx:
        assert tx.checkpoints.all()[-2:] == [first, second]
    assert (story.ledger.config.keys_path / MEMORY).read_text() == second.note
    assert verify_log(story.ledger).signed == second.size


def test_a_checkpoint_that_was_not_remembered_is_the_next_time(story: Any) -> None:
    first = issue_checkpoint(story.ledger)
    (story.ledger.config.keys_path / MEMORY).unlink()
    assert issue_checkpoint(story.ledger) == first
    assert (story.ledger.config.keys_path / MEMORY).read_text() == first.note


def test_an_old_database_that_was_put_back_is_not_signed(story: Any, tmp_path: Path) -> None:
    issue_checkpoint(story.ledger)
    shutil.copy(story.database, tmp_path / "old.db")
    size = story.size
    story.chat(3)
    kept = issue_checkpoint(story.ledger)
    story.ledger.close()
    shutil.copy(tmp_path / "old.db", story.database)
    for _ in range(2):
        with pytest.raises(OlderDatabaseError, match="are missing, that is everything since") as caught:
            issue_checkpoint(story.ledger)
        assert (caught.value.size, caught.value.signed) == (size, kept.size)
        assert (story.ledger.config.keys_path / MEMORY).read_text() == kept.note
    with pytest.raises(AuditError, match="its end is missing"):
        verify_log(story.ledger)
    # Even once as many entries were written again: they are others.
    with pytest.raises(OlderDatabaseError):
        story.chat(5)
    story.chat(5, guarded=False)
    with pytest.raises(OlderDatabaseError, match="does not continue its newest"):
        issue_checkpoint(story.ledger)


def test_a_checkpoint_by_another_key_is_not_continued(story: Any) -> None:
    issue_checkpoint(story.ledger)
    (story.ledger.config.keys_path / FILE).unlink()
    create_signer(story.ledger.config)
    with pytest.raises(KeysError, match="not those of this ledger"):
        issue_checkpoint(story.ledger)


def test_the_database_refuses_to_change_checkpoints(story: Any) -> None:
    issue_checkpoint(story.ledger)
    with closing(sqlite3.connect(story.database)) as connection:
        for statement in ("UPDATE checkpoints SET size = 1", "DELETE FROM checkpoints"):
            with pytest.raises(sqlite3.DatabaseError, match="append-only"):
                connection.execute(statement)


# -- what others keep ---------------------------------------------------------------------------------


def test_a_witness_names_what_was_changed_after_everything_was_signed_again(story: Any) -> None:
    path = story.root / "witness"
    assert witness(story.ledger, path) == (0, story.size)
    story.chat(4)
    assert witness(story.ledger, path) == (story.size - 4, story.size)
    assert witness(story.ledger, path) == (story.size, story.size)
    assert len(path.read_text().splitlines()) == 2
    key = str(load_signer(story.ledger.config).verifier)
    intruder = Intruder(story.database, random.Random(0))
    intruder.rewrite(6, intruder.forge(6))
    intruder.relink(6)
    intruder.resign()
    intruder.close()
    with pytest.raises(AuditError, match="entry 6 is not the one that the witness saw") as caught:
        verify_log(story.ledger, kept_text(str(path)), key)
    assert caught.value.seq == 6
    before = path.read_text()
    with pytest.raises(AuditError, match="entry 6"):
        witness(story.ledger, path)
    assert path.read_text() == before


def test_an_archive_takes_over_what_continues_it(story: Any, tmp_path: Path) -> None:
    key = str(load_signer(story.ledger.config).verifier)
    issue_checkpoint(story.ledger)
    first, second, other = tmp_path / "first", tmp_path / "second", tmp_path / "other"
    first.write_text("".join(export_log(story.ledger)))
    size = story.size
    story.chat(300)
    issue_checkpoint(story.ledger)
    second.write_text("".join(export_log(story.ledger)))
    lines = second.read_text().splitlines(keepends=True)
    other.write_text("".join([*lines[:4], lines[4].replace("tester", "nobody"), *lines[5:]]))
    with pytest.raises(AuditError, match="entry 5 was altered"):
        create_archive(tmp_path / "archive", other, key)
    assert not (tmp_path / "archive").exists()
    archive = open_ledger(create_archive(tmp_path / "archive", first, key), "auditor")
    assert import_log(archive, first, key) == (0, size)
    assert import_log(archive, second, key) == (size, size + 300)
    assert import_log(archive, second, key) == (size + 300, size + 300)
    with pytest.raises(AuditError, match="its end is missing"):
        import_log(archive, first, key)
    assert verify_log(archive, key=key).signed == size + 300
    assert prove(archive, 3).check([load_signer(story.ledger.config).verifier]).size == size + 300
    with pytest.raises(KeysError, match="no signing key"):
        issue_checkpoint(archive)
    with pytest.raises(ConflictError, match="has models"):
        import_log(story.ledger, second, key)
    archive.close()


def test_a_proof_needs_a_checkpoint_that_covers_the_entry(story: Any) -> None:
    story.chat(1)
    with pytest.raises(ConflictError, match=f"no checkpoint covers entry {story.size}"):
        prove(story.ledger, story.size)
    issue_checkpoint(story.ledger)
    assert prove(story.ledger, 2).index == 1
    with pytest.raises(NotFoundError, match="no entry 4000"):
        prove(story.ledger, 4000)


# -- replay -------------------------------------------------------------------------------------------


def test_every_column_is_rebuilt_or_declared_to_be_no_evidence(story: Any) -> None:
    replayed = Replayed()
    with story.ledger.database.read() as tx:
        for event in tx.audit.events():
            replayed.apply(event)
    for table, names in columns().items():
        if table not in IN_THE_STORY:
            continue
        rebuilt = set[str]().union(*replayed.rows[table].values(), KEYS[table])
        digested = {column for owner, column in DIGESTED if owner == table}
        declared = {column for owner, column in NOT_EVIDENCE if owner == table}
        assert (rebuilt | digested) & declared == set()
        assert rebuilt & names | digested | declared == names
    assert all(NOT_EVIDENCE.values())
    assert all(DIGESTED.values())
    assert {table for table, _ in NOT_EVIDENCE} <= columns().keys() == KEYS.keys()


def test_an_honest_life_replays_without_a_difference(story: Any) -> None:
    states = {request.state for _, request in list_requests(story.ledger)}
    assert RequestState.FULFILLED in states
    assert len(states) >= 3
    assert differences(story.ledger) == []


# The others have no rows in it; tests/faults/test_every_column.py tries all.
IN_THE_STORY = ("models", "requests", "versions", "aliases", "alias_moves")
OTHER_VALUES: dict[str, object] = {
    "classes": "[5]", "forgotten": "[0, 5]", "recipe": '{"alpha": 1}', "no_op": 7, "gates_waived": 7, "kind": "other",
    "received_at": "2031-01-01 00:00:00.000000", "due_at": "2031-01-01 00:00:00.000000",
    "created_at": "2031-01-01 00:00:00.000000", "updated_at": "2031-01-01 00:00:00.000000",
    "moved_at": "2031-01-01 00:00:00.000000", "purged_at": "2031-01-01 00:00:00.000000",
    "state": "denied!", "name": "other", "anchor": 1, "settings": '{"max_rank": 1}', "options": '{"a": 1}',
    "preprocessing": "{}", "labels": '["owl", "jay"]', "data_record": '{"a": 1}',
}  # fmt: skip
NUMBERS = {"number", "parent", "restores", "request_id", "version", "previous", "audit_seq", "lease_epoch", "id"}
EDITS = sorted(
    {(table, column) for table in IN_THE_STORY for column in columns()[table]}
    - NOT_EVIDENCE.keys()
    - {(table, "model_id") for table in columns()}
    - {("models", "name")}
    | {("requests", "reason"), ("requests", "external_id")}
    | {("models", "options"), ("models", "preprocessing"), ("models", "settings")}
)


@pytest.mark.parametrize(("table", "column"), EDITS)
def test_an_edited_column_is_named(story: Any, table: str, column: str) -> None:
    value = OTHER_VALUES.get(column, 77 if column in NUMBERS else "else")
    literal = value if isinstance(value, int) else f"'{value}'"
    (rowid,) = sqlite3.connect(story.database).execute(f"SELECT max(rowid) FROM {table}").fetchone()
    execute(story.root, f"UPDATE {table} SET {column} = {literal} WHERE rowid = {rowid}")
    with story.ledger.database.read() as tx:
        found = replay(tx)
    assert found
    assert {difference.table for difference in found} == {table}
    named = {difference.column for difference in found}
    covered = {"reason or external_id", "options, preprocessing or settings", "row", "idempotency"}
    assert column in named or None in named or named & covered
    assert len(differences(story.ledger)) == len(found)


def test_a_model_under_another_name_is_missing_and_invented(story: Any) -> None:
    execute(story.root, "UPDATE models SET name = 'other' WHERE name = 'cars'")
    assert differences(story.ledger)[:2] == [
        "models cars: the row is missing, the history tells of it",
        "models other: the history tells of no such row",
    ]


def test_a_row_that_is_missing_or_invented_is_named(story: Any) -> None:
    execute(story.root, "DELETE FROM requests WHERE id = 1", "INSERT INTO aliases VALUES (1, 'next', 0)")
    assert differences(story.ledger) == [
        "requests 1: the row is missing, the history tells of it",
        "aliases cars/next: the history tells of no such row",
    ]


def test_an_entry_that_cannot_be_replayed_is_named(story: Any) -> None:
    with story.ledger.database.write() as tx:
        seq = tx.audit.append(any_event("version.created"), at=story.now, actor="tester", model="cars")
    assert differences(story.ledger) == [f"entries {seq}: the history tells of no such row"]


# -- commands -----------------------------------------------------------------------------------------


def test_the_commands_sign_prove_witness_and_export(run: Invoke, tmp_path: Path, story: Any) -> None:
    files = {name: str(tmp_path / name) for name in ("note", "proof", "witness", "export", "archive")}
    key = run("audit", "key").stdout.strip()
    assert run("audit", "checkpoint").stdout == story.checkpoint()
    run("audit", "checkpoint", "-o", files["note"])
    assert Path(files["note"]).read_text() == story.checkpoint()
    run("audit", "proof", "3", "-o", files["proof"])
    assert json.loads(run("audit", "proof", "3").stdout) == json.loads(Path(files["proof"]).read_text())
    run("audit", "verify", "--file", files["proof"], "--key", key)
    run("audit", "verify", "--file", files["proof"], code=2)
    run("audit", "witness", files["witness"])
    run("audit", "export", "-o", files["export"])
    head = run("audit", "verify").stdout
    for kept in (files["note"], files["witness"], head.strip()):
        assert run("audit", "verify", "--against", kept).stdout == head
        assert run("audit", "verify", "--file", files["export"], "--against", kept, "--key", key).stdout == head
    assert json.loads(run("audit", "verify", "--json").stdout)["signed"] == story.size
    assert json.loads(run("audit", "verify", "--file", files["export"], "--json").stdout)["signed"] == 0
    run("audit", "import", files["export"], "--into", files["archive"], "--key", key)
    archive = CliRunner().invoke(app, ["--ledger", files["archive"], "audit", "verify", "--key", key])
    assert archive.stdout == head
    run("audit", "import", files["export"], code=4)
    run("audit", "checkpoint", "-o", files["note"], code=1)
    run("audit", "export", "-o", files["export"], code=1)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("verify --against nothing-there", UsageError),
        ("verify --key nonsense", UsageError),
        ("proof 99999", NotFoundError),
        ("verify --file nothing-there", NotFoundError),
        ("import nothing-there", ConflictError),
        ("import nothing-there --into new", NotFoundError),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: Invoke, arguments: str, error: type[LedgerError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"error: {''}" in run("audit", *arguments.split(), code=error.exit_code).output
    assert not Path("new").exists()


def test_requests_are_listed_page_by_page(run: Invoke, story: Any) -> None:
    numbers = [request.id for _, request in list_requests(story.ledger)]
    assert len(numbers) >= 4
    listed: list[int] = []
    while page := json.loads(
        run("request", "list", "--json", "--limit", "3", "--after", str(listed[-1] if listed else 0)).stdout
    )["items"]:
        assert len(page) <= 3
        listed += [item["id"] for item in page]
    assert listed == numbers
    assert f"--after {numbers[1]}" in run("request", "list", "--limit", "2").stderr
    run("request", "list", "--limit", "0", code=2)


FULL_SIZE = os.environ.get("FULL_SIZE") == "1"
SHAPES = ["else", "5", "null", '"text"', "[]", "{}", "[[]]", '{"a": [1]}', "[null]", "", "[99]", "[-1]"]
"""What somebody may write into a column of JSON or of a time."""
TYPED = sorted(
    (name, column.key)
    for name, table in TABLES.items()
    for column in table.c
    if isinstance(column.type, JSON | UtcDateTime) and name in IN_THE_STORY
)


@pytest.mark.parametrize(("table", "column"), TYPED)
def test_a_value_of_another_shape_is_never_a_traceback(story: Any, table: str, column: str) -> None:
    with closing(sqlite3.connect(story.database)) as connection:
        before = {text for (text,) in connection.execute(f"SELECT {column} FROM {table}")}
    for value in SHAPES if FULL_SIZE else random.Random(f"{table} {column}").sample(SHAPES, 2):
        execute(story.root, f"UPDATE {table} SET {column} = '{value}'")
        for command in (
            ("audit", "verify"),
            ("fsck",),
            ("status",),
            ("request", "list"),
            ("model", "show", "cars"),
            ("model", "versions", "cars"),
            ("audit", "log"),
            ("work",),
        ):
            result = CliRunner().invoke(app, ["--ledger", str(story.root), *command])
            assert result.exception is None or isinstance(result.exception, SystemExit), (value, command)
            if command == ("audit", "verify") and value not in before:
                assert result.exit_code == 5, (value, result.output)
                assert f": {table} " in result.output
