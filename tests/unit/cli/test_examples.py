"""The help of every command ends with an example, which the command itself understands."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from ledger.cli.examples import EXAMPLES
from ledger.cli.main import app
from typer.testing import CliRunner


def commands(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command with its name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_every_command_has_one() -> None:
    assert COMMANDS.keys() == EXAMPLES.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_shown_and_understood(name: str) -> None:
    example = EXAMPLES[name]
    words = shlex.split(example)
    own = name.split()
    assert words[: 1 + len(own)] == ["unledger", *own]
    shown = CliRunner().invoke(app, [*own, "--help"], env={"COLUMNS": "300", "TERM": "dumb"})
    assert f"Example: {example}" in re.sub(r"\s+", " ", shown.output), shown.output
    # What the parser refuses, it refuses here; nothing is run.
    command = COMMANDS[name]
    with command.make_context(name, words[1 + len(own) :], resilient_parsing=False):
        """It was read."""
