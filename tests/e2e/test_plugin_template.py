"""A plugin that was just written is found, and its own tests pass."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.errors import ConflictError, RefusedError, UsageError
from ledger.service.upkeep.plugin_template import FILES, write_plugin
from tests.ledgers.shelf import Shelf


def run(*words: str, cwd: Path, **env: str) -> str:
    environment = {**os.environ, **env}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_its_own_tests_pass(tmp_path: Path) -> None:
    made = tmp_path / "my-plugin"
    run(sys.executable, "-m", "ledger.cli", "plugin", "new", "my-plugin", cwd=tmp_path)
    site = tmp_path / "site"
    # Into a folder of its own: what is tested is the package, and not what tests here may write to.
    target = ("--no-deps", "--no-build-isolation", "--no-index", "--target", str(site), str(made))
    python = Path(sys.executable)
    pip = ("-m", "pip") if _has_pip() else ("-m", "build")
    if pip[1] == "pip":
        run(str(python), *pip, "install", "-q", *target, cwd=tmp_path)
    else:
        run(str(python), *pip, "--wheel", "--no-isolation", "--outdir", str(site), str(made), cwd=tmp_path)
        (wheel,) = site.glob("*.whl")
        run(str(python), "-m", "zipfile", "-e", str(wheel), str(site), cwd=tmp_path)
    path = {"PYTHONPATH": str(site)}
    said = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=made, **path)
    assert "5 passed" in said
    listed = json.loads(run(sys.executable, "-m", "ledger.cli", "plugins", "--json", cwd=tmp_path, **path))["items"]
    (found,) = [one for one in listed if one["name"] == "my-plugin"]
    assert found["error"] is None
    assert len(found["hooks"]) == 4


def _has_pip() -> bool:
    return subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def test_every_file_is_written(tmp_path: Path) -> None:
    written = write_plugin("a-b2", tmp_path / "new")
    assert len(written) == len(FILES)
    assert all(path.is_file() and "$" not in path.read_text() for path in written)
    with pytest.raises(ConflictError):
        write_plugin("a-b2", tmp_path / "new")


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "../a", "1a", "a" * 61, "unledger", "tests"])
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        write_plugin(name, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_never_into_a_ledger(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "ledger", "sqlite:///ledger.db")
    try:
        with pytest.raises(RefusedError):
            write_plugin("my-plugin", shelf.root / "objects" / "new")
    finally:
        shelf.close()
