"""What happens to a ledger besides bad input: full and read-only disks, Ctrl-C, another release, another hand."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ledger.errors import AuditError, BusyError, IntegrityError, LedgerError, ObjectError, SchemaVersionError
from ledger.plugin_manager import build_plugins
from ledger.weights import tensor_files
from tests.faults.full_disk import largest_file
from tests.ledgers.contents import ledger_contents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fixtures.trained_digits import TrainedDigits
    from tests.ledgers.command_line import Cli

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def execute(cli: Cli, statement: str, *values: Any) -> None:
    """Change the database behind the ledger's back."""
    with closing(sqlite3.connect(cli.root / "ledger.db")) as connection:
        connection.execute(statement, values)
        connection.commit()


# -- Ctrl-C -------------------------------------------------------------------------------------------


def test_ctrl_c_in_the_middle_of_work_loses_nothing(cli: Cli, trained_digits: TrainedDigits) -> None:
    undisturbed = type(cli)(cli.root.with_name("undisturbed"))
    shutil.copytree(cli.root, undisturbed.root)
    undisturbed("forget", "digits", "-c", "3", "--wait")

    cli("forget", "digits", "-c", "3")
    slow = trained_digits.factory.with_name("slow")
    slow.touch()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "ledger.cli", "--ledger", str(cli.root), "work"],
            env={**os.environ, **ENVIRONMENT},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for_spaces(cli, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        slow.unlink()
    assert process.returncode == 130, err
    assert "interrupted; nothing half-done was kept" in err
    assert "Traceback" not in out + err

    assert cli.state(1) == "queued"
    assert [version["version"] for version in cli.versions()] == [0]
    cli.verified()
    collected = [item["class_index"] for item in cli.json("model", "spaces", "digits")["items"]]
    assert 1 <= len(collected) < 10
    assert collected == list(range(len(collected)))

    cli("work")
    assert cli.state(1) == "fulfilled"
    assert [v["weights"] for v in cli.versions()] == [v["weights"] for v in undisturbed.versions()]
    assert len(cli.json("model", "spaces", "digits")["items"]) == 10
    kinds = [event["kind"] for event in cli.json("audit", "log")["items"] if event["request"] == 1]
    assert kinds == [
        *("request.received", "request.claimed", "request.interrupted", "request.claimed"),
        *("version.created", "request.fulfilled"),
    ]


def wait_for_spaces(cli: Cli, process: subprocess.Popen[str]) -> None:
    """Wait until the other process has collected something."""
    deadline = time.monotonic() + 120
    with closing(sqlite3.connect(f"file:{cli.root / 'ledger.db'}?mode=ro", uri=True, timeout=10)) as connection:
        while not connection.execute("SELECT count(*) FROM class_spaces").fetchone()[0]:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the worker collected nothing"
            time.sleep(0.02)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command line believe that somebody is there to answer."""
    monkeypatch.setattr("ledger.cli.session.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("typed", "code"), [("n\n", 7), ("\n", 7), ("", 130)], ids=["no", "enter", "end of input"])
def test_only_a_yes_is_a_yes(forgotten: Cli, typed: str, code: int) -> None:
    with forgotten.unchanged():
        answer = forgotten("rollback", "digits", "--to", "1", code=code, text=typed)
    assert "Roll digits back to version 1?" in answer.err
    assert ("interrupted" if code == 130 else "not confirmed") in answer.err
    forgotten("rollback", "digits", "--to", "1", text="y\n")
    assert forgotten.state(2) == "reopened"


@pytest.mark.usefixtures("terminal")
def test_ctrl_c_at_a_question_means_no(forgotten: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("ledger.cli.session.typer.confirm", interrupted)
    with forgotten.unchanged():
        assert "interrupted" in forgotten("rollback", "digits", "--to", "1", code=130).err


# -- a disk that is full ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory, trained_digits: TrainedDigits) -> list[str]:
    """Options that register a wider, untrained network: its weights take more room than the database."""
    torch.manual_seed(0)
    module = build_plugins().load_model(trained_digits.architecture, {"width": 64}, 10).module
    path = tmp_path_factory.mktemp("wide") / "wide.safetensors"
    path.write_bytes(tensor_files.serialise(module.state_dict()))
    options = [str(path) if text == str(trained_digits.weights) else text for text in trained_digits.options]
    return [*options, "--arch-option", "width=64", *trained_digits.set_options, "--accept-accuracy"]


def test_weights_that_do_not_fit_on_the_disk_are_not_registered(cli: Cli, wide: list[str]) -> None:
    # The database may still grow: what is stored is what does not fit.
    with largest_file((cli.root / "ledger.db").stat().st_size + 100_000):
        answer = cli.refused(LedgerError, 1, "model", "add", "copy", *wide)
    assert "cannot store an object" in answer.err
    assert "free some space" in answer.err
    cli("model", "add", "copy", *wide)


def test_work_that_does_not_fit_on_the_disk_fails_and_can_be_retried(cli: Cli, wide: list[str]) -> None:
    cli("model", "add", "wide", *wide)
    cli("forget", "wide", "-c", "3")
    before = cli.contents()["objects"]
    database = (cli.root / "ledger.db").stat().st_size
    with largest_file(database + 100_000):
        answer = cli("work", code=1)
    assert type(answer.error) is LedgerError
    assert "cannot store an object" in answer.err
    assert cli.state(1) == "failed"
    # Class spaces that did fit are kept; of what did not, nothing is.
    assert cli.contents()["objects"].items() >= before.items()
    cli("fsck", "--read-data")
    assert [version["version"] for version in cli.versions("wide")] == [0]
    cli.verified()
    cli("request", "retry", "1", "--waive", "no room for more")
    cli("work")
    assert cli.state(1) == "fulfilled"


def test_a_database_that_cannot_grow_changes_as_a_whole_or_not_at_all(cli: Cli) -> None:
    before = cli.contents()
    with largest_file(8192):
        answer = cli("forget", "digits", "-c", "3", code=1)
    assert isinstance(answer.error, LedgerError)
    assert "database" in answer.err
    assert "Traceback" not in answer.err
    assert cli.contents() == before
    cli.verified()
    cli("forget", "digits", "-c", "3")
    assert cli.state(1) == "queued"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_no_space_left(small_disk: Path, cli: Cli, trained_digits: TrainedDigits, wide: list[str]) -> None:
    full = type(cli)(small_disk / "ledger")
    full("init", str(full.root))
    full("model", "add", "digits", *trained_digits.options, *trained_digits.set_options)
    answer = full.refused(LedgerError, 1, "model", "add", "wide", *wide)
    assert "no space left" in answer.err
    full("forget", "digits", "-c", "3")
    (small_disk / "filler").write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
    before = full.contents()
    answer = full("forget", "digits", "-c", "4", "--reason", "long " * 1900, code=1)
    assert isinstance(answer.error, LedgerError)
    assert full.contents() == before
    (small_disk / "filler").unlink()
    full.verified()
    full("forget", "digits", "-c", "4", "--reason", "long " * 1900)


@pytest.mark.parametrize("there", [False, True], ids=["new folder", "empty folder"])
def test_an_export_that_does_not_fit_leaves_nothing_and_can_be_repeated(
    small_disk: Path, cli: Cli, *, there: bool
) -> None:
    target = small_disk / "export"
    if there:
        target.mkdir()
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    # Room for the folder, and for the beginning of the weights.
    (small_disk / "filler").write_bytes(b"x" * (free - 8192))
    before = sorted(small_disk.rglob("*"))
    answer = cli("model", "export", "digits", "-o", str(target), code=1)
    assert "cannot write to" in answer.err
    assert "run the same command again" in answer.err
    assert sorted(small_disk.rglob("*")) == before
    (small_disk / "filler").unlink()
    cli("model", "export", "digits", "-o", str(target))
    assert sorted(path.name for path in target.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    cli.verified()


# -- a disk that cannot be written --------------------------------------------------------------------


@pytest.fixture
def read_only(cli: Cli) -> Iterator[tuple[Path, list[str]]]:
    """A ledger whose files its user may only read, and the command line's beginning for that user."""
    python = [sys.executable, "-m", "ledger.cli"]
    if os.getuid() == 0:
        # Permissions do not bind root: somebody else has to try.
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        if (
            shutil.which("setpriv") is None
            or subprocess.run([*prefix, sys.executable, "-c", ""], check=False).returncode
        ):
            pytest.skip("root cannot become somebody else who can run Python here")
        python = [*prefix, *python]
    # Not under pytest's folder, which belongs to one user alone.
    root = Path(tempfile.mkdtemp(prefix="unledger-"))
    shutil.copytree(cli.root, root / "ledger")
    for path in (root / "ledger").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for path in (path for path in (root / "ledger" / "keys").rglob("*") if path.is_file()):
        # Keys are for their owner alone, or they are refused.
        path.chmod(0o400)
        if os.getuid() == 0:
            os.chown(path, 65534, 65534)
    for path in (root / "ledger", root):
        path.chmod(0o555)
    yield root / "ledger", [*python, "--ledger", str(root / "ledger"), "--actor", "guest"]
    for path in (root, root / "ledger", *(p for p in (root / "ledger").rglob("*") if p.is_dir())):
        path.chmod(0o755)
    shutil.rmtree(root)


def run(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    environment = {**os.environ, **ENVIRONMENT}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_read_only_ledger_can_be_read_and_says_why_it_cannot_be_written(
    read_only: tuple[Path, list[str]], cli: Cli
) -> None:
    root, command = read_only
    before = ledger_contents(root)
    refused = run(command, "forget", "digits", "-c", "3")
    assert refused.returncode == 1
    assert "error: the database cannot be written: attempt to write a readonly database" in refused.stderr
    assert "hint: check permissions" in refused.stderr
    assert "Traceback" not in refused.stderr
    shown = run(command, "audit", "verify")
    assert (shown.returncode, shown.stderr.splitlines()[0]) == (0, "audit verify ok: 3 entries")
    made = run(command[:-4], "init", str(root / "another"))
    assert made.returncode == 1
    assert "cannot create a ledger" in made.stderr
    assert ledger_contents(root) == before


def test_objects_that_cannot_be_written_fail_the_request(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    # Here the lowest call is made to fail: a folder that only objects cannot be written to is hard to come by as root.
    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    cli("forget", "digits", "-c", "3")
    with monkeypatch.context() as patch:
        patch.setattr("ledger.durable_files._create", refused)
        answer = cli("work", code=1)
    assert "cannot store an object" in answer.err
    assert "Permission denied" in answer.err
    assert cli.state(1) == "failed"
    cli.verified()


# -- a database that somebody else holds, or wrote ----------------------------------------------------


def test_a_database_that_somebody_holds_is_busy(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(sys.modules["ledger.store.database.engine"])["PRAGMAS"], "busy_timeout", 50)
    with closing(sqlite3.connect(cli.root / "ledger.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        answer = cli("forget", "digits", "-c", "3", code=75)
        connection.execute("ROLLBACK")
    assert type(answer.error) is BusyError
    cli("forget", "digits", "-c", "3")


def test_a_database_of_a_newer_release_is_left_alone(cli: Cli) -> None:
    execute(cli, "UPDATE unledger_schema SET version_num = 'r9999'")
    before = cli.contents()
    for command in ("status", "forget digits -c 3", "work", "audit verify", "db check", "db upgrade"):
        answer = cli(*command.split(), code=4)
        assert type(answer.error) is SchemaVersionError
        assert "at schema r9999, which this release does not know" in answer.err
        assert "upgrade unledger" in answer.err
    assert cli.contents() == before
    assert cli.json("db", "current")["current"] == "r9999"
    assert "FAILED" in cli("doctor", code=1).out


def test_a_database_without_a_ledger(cli: Cli) -> None:
    (cli.root / "ledger.db").unlink()
    answer = cli("status", code=4)
    assert type(answer.error) is SchemaVersionError
    assert "unledger db upgrade" in answer.advice


@pytest.mark.parametrize("data", [b"not a database at all" * 50, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database(cli: Cli, data: bytes) -> None:
    (cli.root / "ledger.db").write_bytes(data)
    answer = cli("status", code=5)
    assert type(answer.error) is IntegrityError
    assert "the database is damaged" in answer.err
    assert "FAILED" in cli("doctor", code=1).out


# -- a hand in the database ---------------------------------------------------------------------------


def tamper(cli: Cli, statement: str) -> None:
    """Change the history with the append-only triggers taken away."""
    with closing(sqlite3.connect(cli.root / "ledger.db")) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        assert triggers
        for (name,) in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    ("statement", "bad"),
    [
        ("UPDATE audit_events SET leaf = replace(leaf, 'tester', 'nobody') WHERE seq = 5", 5),
        ("UPDATE audit_events SET digest = (SELECT digest FROM audit_events WHERE seq = 6) WHERE seq = 7", 7),
        ("UPDATE audit_events SET kind = 'request.denied' WHERE seq = 4", 4),
        ("DELETE FROM audit_events WHERE seq = 4", 4),
        ("DELETE FROM audit_events WHERE seq >= 20", 20),
        ("UPDATE audit_head SET size = size + 1", None),
    ],
)
def test_a_tampered_history_is_found_at_its_first_bad_entry(forgotten: Cli, statement: str, bad: int | None) -> None:
    entries = forgotten.json("audit", "verify")["size"]
    tamper(forgotten, statement)
    expected = bad or entries + 1
    answer = forgotten("audit", "verify", code=5)
    assert type(answer.error) is AuditError
    assert answer.error.seq == expected
    verdict = forgotten("audit", "verify", "--json", code=5).document
    assert (verdict["ok"], verdict["first_bad"]) == (False, expected)
    assert verdict["problem"] in answer.err
    assert "FAILED" in forgotten("doctor", code=1).out


def test_the_database_itself_refuses_to_change_history(forgotten: Cli) -> None:
    for statement in ("UPDATE audit_events SET actor = 'x'", "DELETE FROM audit_events"):
        with pytest.raises(sqlite3.Error):
            execute(forgotten, statement.replace("actor = 'x'", "kind = 'x'"))
    forgotten.verified()


def test_a_rewritten_history_is_found_by_whoever_kept_a_head(forgotten: Cli, tmp_path: Path) -> None:
    kept = forgotten("audit", "verify").out.strip()
    assert re.fullmatch(r"\d+:[0-9a-f]{64}", kept)
    forgotten("audit", "verify", "--against", kept)
    older = forgotten.root.with_name("older")
    forgotten("forget", "digits", "-c", "0")
    forgotten("audit", "verify", "--against", kept)

    # Another history of the same length, consistent in itself.
    shutil.copytree(forgotten.root, older)
    newer = forgotten("audit", "verify").out.strip()
    size = int(newer.split(":")[0])
    answer = forgotten("audit", "verify", "--against", f"{size}:{'0' * 64}", code=5)
    assert isinstance(answer.error, AuditError)
    assert answer.error.seq == size
    answer = forgotten("audit", "verify", "--against", f"{size + 3}:{'0' * 64}", code=5)
    assert "its end is missing" in answer.err

    forgotten("audit", "export", "-o", str(tmp_path / "history.jsonl"))
    assert forgotten("audit", "verify", "--file", str(tmp_path / "history.jsonl")).out.strip() == newer
    lines = (tmp_path / "history.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "history.jsonl").write_text("".join(lines[:3] + lines[4:]))
    answer = forgotten("audit", "verify", "--file", str(tmp_path / "history.jsonl"), code=5)
    assert isinstance(answer.error, AuditError)
    assert answer.error.seq == 4
    (tmp_path / "history.jsonl").write_text("nonsense\n")
    forgotten("audit", "verify", "--file", str(tmp_path / "history.jsonl"), code=5)


def test_an_altered_object_is_found_before_it_is_used(forgotten: Cli, tmp_path: Path) -> None:
    live = forgotten.versions()[-1]["weights"]
    path = forgotten.root / "objects" / live[:2] / live[2:]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    answer = forgotten("model", "verify", "digits", code=5)
    assert type(answer.error) is IntegrityError
    assert "version 2" in answer.out
    assert "altered" in " ".join(answer.out.split())
    for command in (f"model export digits -o {tmp_path / 'exported'}", "evaluate digits", "model diff digits 0 2"):
        assert type(forgotten(*command.split(), code=5).error) is ObjectError
    assert not (tmp_path / "exported").exists()
    # Weights are computed from version 0: the next request is not hindered.
    forgotten("forget", "digits", "-c", "0", "--wait")
