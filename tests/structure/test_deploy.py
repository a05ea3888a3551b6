"""What is offered for running a server: the files are well-formed, and start commands that there are."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from ledger.cli.main import app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNITS = sorted(DEPLOY.glob("*.service"))


def started() -> Iterator[tuple[str, list[str]]]:
    for unit in UNITS:
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read(unit)
        program, *words = shlex.split(parser["Service"]["ExecStart"])
        assert program.endswith("/unledger")
        yield unit.name, words
    for name, service in COMPOSE["services"].items():
        if "build" in service:
            yield name, service["command"]
    for words in re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        yield "Dockerfile", yaml.safe_load(words)


@pytest.mark.parametrize(("where", "words"), list(started()))
def test_what_is_started_is_a_command_with_such_options(where: str, words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    name, *arguments = words
    found = command.commands[name]
    # Parsed, not run.
    found.make_context(name, [word.replace("${", "{") for word in arguments], resilient_parsing=False)


def test_there_is_something_to_start() -> None:
    assert len(list(started())) >= 6


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    # Where the docs install it, nothing is here; systemd looks whether the program can be run.
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text(), flags=re.MULTILINE)
    (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    # It knows no other unit than this one, and says so of those that are waited for.
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_a_misspelt_line_of_a_unit_would_be_told(tmp_path: Path) -> None:
    (tmp_path / "wrong.service").write_text("[Service]\nExecStart=/bin/true\nProtectHoem=yes\n")
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "wrong.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "ProtectHoem" in done.stderr


@pytest.mark.slow
def test_what_images_copy_is_enough_to_build_the_package(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for words in re.findall(r"^COPY (.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        *names, target = words.split()
        for name in names:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, source / target)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *options, str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    [wheel] = tmp_path.glob("unledger-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        held = set(packed.namelist())
    for folder in ("ledger", "cli", "plugins", "migrations"):
        inside = Path("ledger") if folder == "ledger" else Path("ledger") / folder
        for module in (ROOT / folder).rglob("*.py"):
            assert str(inside / module.relative_to(ROOT / folder)) in held
    assert "unledger.py" in held


def test_targets_and_volumes_of_compose_are_there() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\w+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
    for service in COMPOSE["services"].values():
        if "build" in service:
            assert service["build"]["target"] in targets
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).is_file()


def test_images_hold_every_folder_of_the_package() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for folder in ("ledger", "cli", "plugins", "migrations"):
        assert f"COPY {folder} {folder}" in text


def test_every_metric_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    source = (ROOT / "ledger" / "web" / "operation" / "metrics.py").read_text()
    names = set(re.findall(r'"(unledger_\w+)"', source))
    assert len(names) > 6
    assert {name for name in names if f"`{name}`" not in page} == set()
