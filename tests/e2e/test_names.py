"""Folders and people may have any name: nothing is pasted into a URL, and an account without a name can act."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ledger.config import FILE, find_config
from ledger.errors import ConflictError, LedgerError
from ledger.service import ledger as ledger_module
from ledger.service.ledger import init_ledger, open_ledger
from tests.ledgers.command_line import Cli
from tests.ledgers.shelf import START, weights_of
from tests.ledgers.stand_in import register_stand_in

NAMES = (
    *("cats?v1", "cats?v2", "50%41", "50%zz", "a#b", "two words", " edges ", "it's", 'say "so"', "Käse", "猫"),
    *(
        "back\\slash",
        "a&b=c",
        "x?mode=ro",
        "semi;colon",
        "colon:name",
        "star*",
        "a+b",
        "~",
        "$HOME",
        "new\nline",
        "@host",
    ),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_ledgers_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    cli = Cli(folder)
    cli("init", str(folder))
    ledger = open_ledger(find_config(folder), "tester")
    register_stand_in(ledger, "m", ("a", "b"), weights_of(1), at=START)
    ledger.close()
    cli.verified()
    cli("fsck", "--read-data")
    cli("db", "upgrade")
    # Everything lies in the folder itself, and nothing beside it.
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        assert connection.execute("SELECT count(*) FROM models").fetchone() == (1,)


def test_folders_whose_names_differ_share_nothing(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        init_ledger(tmp_path / name, "sqlite:///ledger.db", "objects", f"founder {number}")
    for number, name in enumerate(NAMES):
        [entry] = Cli(tmp_path / name).json("audit", "log")["items"]
        assert entry["actor"] == f"founder {number}"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "~"])
def test_an_object_store_may_have_any_name(tmp_path: Path, name: str) -> None:
    cli = Cli(tmp_path / "ledger")
    cli("init", str(cli.root), "--store", name)
    ledger = open_ledger(find_config(cli.root), "tester")
    register_stand_in(ledger, "m", ("a", "b"), weights_of(1), at=START)
    ledger.close()
    assert [path for path in (cli.root / name).rglob("*") if path.is_file()]
    cli("fsck", "--read-data")


# -- accounts without a name -------------------------------------------------------------------------

UNKNOWN = 54321
ACT = f"import os, sys; os.setresuid({UNKNOWN}, 0, 0); from ledger.cli.main import app; app(sys.argv[1:])"
"""Its real user is in no list of accounts. It keeps root's rights: Python itself may lie where only root reads."""


def act_as_unknown(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an account that has no name, no home and nothing about either in its environment."""
    return subprocess.run(
        [sys.executable, "-c", ACT, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become an account that does not exist")
def test_an_account_without_a_name_is_recorded_by_its_number(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for arguments in (["init"], ["status"], ["doctor"], ["audit", "verify"], ["audit", "checkpoint"], ["fsck"]):
        done = act_as_unknown(tmp_path, *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    listed = json.loads(act_as_unknown(tmp_path, "audit", "log", "--json").stdout)["items"]
    assert {entry["actor"] for entry in listed} == {f"uid-{UNKNOWN}"}
    refused = act_as_unknown(tmp_path, "model", "add", "m", "--arch", "timm/x", "--weights", "w", "--data", "npz:~/x")
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False), refused.stderr


def test_who_acts_can_always_be_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for error in (KeyError("uid not found"), OSError("no username"), ImportError("pwd")):

        def unknown(error: Exception = error) -> str:
            raise error

        monkeypatch.setattr("getpass.getuser", unknown)
        cli = Cli(tmp_path / type(error).__name__)
        cli("init", str(cli.root))
        assert cli("status").code == 0


# -- what init leaves --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["open_objects", "open_engine", "upgrade_schema", "create_signer", "write_config"])
@pytest.mark.parametrize("error", [KeyError("x"), OSError(28, "No space left"), LedgerError("x"), KeyboardInterrupt()])
def test_init_that_fails_at_any_step_leaves_no_ledger_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    folder = tmp_path / "new"

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(ledger_module, step, fail)
        with pytest.raises(type(error)):
            init_ledger(folder, "sqlite:///ledger.db", "objects", "tester")
    assert not (folder / FILE).exists()
    init_ledger(folder, "sqlite:///ledger.db", "objects", "tester")
    [entry] = Cli(folder).json("audit", "log")["items"]
    assert entry["kind"] == "ledger.created"
    Cli(folder)("audit", "checkpoint")
    with pytest.raises(ConflictError):
        init_ledger(folder, "sqlite:///ledger.db", "objects", "tester")
