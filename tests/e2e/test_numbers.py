"""Numbers that people type: every command that takes one answers, whatever it is."""

from __future__ import annotations

import re

import pytest
from ledger.cli.main import app
from ledger.cli.sizes import parse_size
from typer.testing import CliRunner

from ledger.errors import NotFoundError, UsageError
from tests.ledgers.command_line import COMMANDS, Cli

VALUES = (
    "-5",
    "-1",
    "0",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "1e309",
    "",
    " ",
    "٣",
    "0x10",
    str(2**63),
    str(-(2**63) - 1),
    "9" * 5000,
)
ADD = "model add x --arch f.py:f --weights nothing.safetensors --data folder:x"
FITTING = {
    "evaluate train_per_class": "evaluate nobody --train-per-class=",
    "evaluate time_limit": "evaluate nobody --time-limit=",
    "evaluate level": "evaluate nobody --level=",
    "rollback to": "rollback pets --dry-run --to=",
    "work poll": "work nobody --once --poll=",
    "forget index": "forget nobody --index=",
    "preview index": "preview nobody --index=",
    "model add samples_per_class": f"{ADD} --samples-per-class=",
    "model add depth": f"{ADD} --depth=",
    "model add alpha_r": f"{ADD} --alpha-r=",
    "model add alpha_f": f"{ADD} --alpha-f=",
    "model diff first": "model diff pets --json -- * 0",
    "model diff second": "model diff pets --json -- 0 ",
    "request list after": "request list --after=",
    "request list limit": "request list --limit=",
    **{
        f"request {action} request": f"request {action} -- " for action in ("show", "approve", "deny", "cancel", "hold")
    },
    **{f"request {action} request": f"request {action} -- " for action in ("release", "retry", "withdraw")},
    "request extend request": "request extend --due=+60d --reason=because -- ",
    "audit log after": "audit log --after=",
    "audit proof seq": "audit proof -- ",
    "certificate issue request": "certificate issue -- ",
    "certificate show certificate": "certificate show -- ",
    "certificate erase-openings certificate": "certificate erase-openings --yes -- ",
    **{f"webhook {action} webhook": f"webhook {action} -- " for action in ("remove", "test", "deliveries")},
    # Under an address that needs a name, so that no number makes a server that stays.
    "serve port": "serve --host=203.0.113.1 --port=",
    "certificate verify request": "certificate verify nothing.json --request=",
}
"""A command line for every number, up to the number, or with ``*`` in its place."""


def numbers() -> list[str]:
    """Return every parameter that is a number."""
    return [
        f"{' '.join(path)} {parameter.name}"
        for path, command in COMMANDS.items()
        for parameter in command.params
        if re.search(r"\b(int|float)", parameter.display_type(command.context_class(command)).lower())
    ]


def test_every_number_is_tried() -> None:
    assert sorted(FITTING) == sorted(numbers())


@pytest.mark.parametrize("parameter", FITTING)
def test_no_number_is_a_surprise(odd: Cli, parameter: str) -> None:
    """Either the number means something, or the exit code says that it does not; the ledger is as it was."""
    with odd.unchanged():
        for value in VALUES:
            line = FITTING[parameter]
            words = (line if "*" in line else f"{line}*").split()
            arguments = [word.replace("*", value) for word in words]
            result = CliRunner().invoke(app, ["--ledger", str(odd.root), *arguments])
            assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
            assert result.exit_code in (0, 2, 3, 4, 7), (arguments, result.output)
            assert result.exit_code == 0 or result.stderr


@pytest.mark.parametrize("value", ["-5", "-1", "10000001"])
def test_a_number_out_of_range_is_refused_with_the_range(odd: Cli, value: str) -> None:
    answer = odd.refused(UsageError, 2, "evaluate", "pets", f"--train-per-class={value}")
    assert f"must be between 0 and 10000000, not {value}" in answer.err


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("32x32", "lacks the number of channels", "3x32x32"),
        ("224", "names one side only", "3x224x224"),
        ("3,32,32", "not written as sizes are here", "3x32x32"),
        ("3X32X32", "not written as sizes are here", "3x32x32"),
        ("0", "not between 1 and", "CHANNELSxHEIGHTxWIDTH"),
        ("-1", "not between 1 and", "CHANNELSxHEIGHTxWIDTH"),
        ("3x0x32", "not between 1 and", "CHANNELSxHEIGHTxWIDTH"),
        ("3x32x-32", "not between 1 and", "CHANNELSxHEIGHTxWIDTH"),
        ("3x32x999999999", "not between 1 and", "CHANNELSxHEIGHTxWIDTH"),
        ("1x3x32x32", "4 numbers instead of three", "CHANNELSxHEIGHTxWIDTH"),
        ("", "is not the size", "CHANNELSxHEIGHTxWIDTH"),
        ("axbxc", "is not the size", "CHANNELSxHEIGHTxWIDTH"),
        ("3x32x32.5", "is not the size", "CHANNELSxHEIGHTxWIDTH"),
        ("3xnanx32", "is not the size", "CHANNELSxHEIGHTxWIDTH"),
        ("9" * 5000, "is not the size", "CHANNELSxHEIGHTxWIDTH"),
    ],
)
def test_a_size_is_refused_with_what_was_meant(odd: Cli, text: str, said: str, hint: str) -> None:
    answer = odd.refused(UsageError, 2, *ADD.split(), f"--input-size={text}")
    assert said in answer.err
    assert hint in answer.err


def test_a_size_is_read(odd: Cli) -> None:
    assert parse_size("3x32x64") == {"channels": 3, "height": 32, "width": 64}
    odd.refused(NotFoundError, 3, *ADD.split(), "--input-size=1x28x28")
