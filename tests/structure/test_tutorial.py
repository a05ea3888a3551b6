"""The tutorial is true: a certificate in under ten commands, and the how-to pages go on from there."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.doc_blocks import ROOT, blocks, check_shown, run_in

TUTORIAL = ROOT / "docs" / "tutorial.md"
HOW_TO = sorted(ROOT.glob("docs/how-to/*.md"))
CERTIFIED = "certificate issue"
MOST = 9
"""Commands to a certificate."""
CLONED = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "*.egg-info", "build", "dist", "tests")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Practised:
    """Where somebody typed the tutorial."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, command: str, expected: list[str]) -> None:
        """Type a command, and look for the lines that the page shows below it."""
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=self.folder,
            env={**self.environment, "PWD": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}\n{said}"
        check_shown(said, expected, command)


@pytest.fixture(scope="module")
def practised(tmp_path_factory: pytest.TempPathFactory) -> Practised:
    """Type the tutorial, beside a fresh clone. Nothing is downloaded: what pip would fetch lies on its path already."""
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(ROOT, folder / "unledger", ignore=CLONED)
    tools = tmp_path_factory.mktemp("tools")
    # Another Python than this one could not load what lies there.
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    installed = [path for path in sys.path if path.endswith("site-packages")]
    here = Practised(
        folder,
        {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join(installed),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "300",
        },
    )
    for block in blocks(TUTORIAL):
        if block.language == "console":
            assert block.not_run is None, f"{block.place}: every command of the tutorial runs"
            for command, expected in block.steps:
                here.run(command, expected)
    return here


def test_a_certificate_takes_under_ten_commands() -> None:
    typed = [command for block in blocks(TUTORIAL) if block.language == "console" for command in block.commands]
    (last,) = (number for number, command in enumerate(typed, 1) if CERTIFIED in command)
    assert last == MOST < 10
    assert not any(re.search(r"[;&|]", command) for command in typed[:last]), "each is one command"
    assert "Nine commands later" in TUTORIAL.read_text()


def test_the_certificate_is_of_the_class_that_was_known_and_is_forgotten(practised: Practised) -> None:
    practised.run(
        "env/bin/unledger certificate verify certificate.json --json > verified.json; "
        "env/bin/unledger evaluate digits --json > measured.json",
        [],
    )
    assert json.loads((practised.folder / "verified.json").read_text())["ok"]
    (accuracy,) = (
        result["metrics"]
        for result in json.loads((practised.folder / "measured.json").read_text())["evidence"]
        if result["evaluator"] == "accuracy"
    )
    seven = sorted(path.name for path in (practised.folder / "photos" / "train").iterdir()).index("seven")
    assert accuracy["base_test"]["per_class"][seven] > 0.9
    assert accuracy["test"]["per_class"][seven] < 0.05


def test_what_was_installed_is_the_clone(practised: Practised) -> None:
    practised.run(
        'env/bin/python -c "import ledger; print(ledger.__file__)"',
        [
            f"{practised.folder}/env/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/ledger/__init__.py"
        ],
    )


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_how_to_pages_go_on_where_the_tutorial_ends(
    page: Path, practised: Practised, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(practised.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("env"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "300")
    for block in blocks(page):
        assert block.not_run is None, f"{block.place}: every command of a how-to page runs"
        if block.file is not None:
            (folder / block.file).write_text(block.text)
        if block.language == "console":
            for command, expected in block.steps:
                check_shown(run_in(folder, command), expected, command)
