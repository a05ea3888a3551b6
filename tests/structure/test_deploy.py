"""What is offered for running a server: the files are well-formed, and start commands that there are."""

import configparser
import re
import shlex
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
