"""Gates at the command line: what a person reads when one is missed, pasted back."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from ledger.errors import GateError, UsageError

if TYPE_CHECKING:
    from tests.fixtures.trained_digits import TrainedDigits
    from tests.ledgers.command_line import Cli

POLICY = """
[gates]
conditions = ["loss_against_mask <= 0.005", "forgotten_accuracy <= 0.05"]

[gates.models.digits]
conditions = ["loss_against_mask <= 0.5"]
"""
CONDITION = "loss_against_mask <= 0.005"


@pytest.fixture
def blocked(cli: Cli, trained_digits: TrainedDigits) -> tuple[Cli, list[str]]:
    """A ledger with a blocked request, and the commands that its hint has."""
    cli(
        "model",
        "add",
        "projected",
        *trained_digits.options,
        *trained_digits.set_options,
        "--set",
        'solvers=["projection"]',
    )
    with (cli.root / "unledger.toml").open("a") as file:
        file.write(POLICY)
    answer = cli("forget", "projected", "-c", "3", "--wait", code=6)
    assert type(answer.error) is GateError
    assert f"the gate asks for {CONDITION}" in answer.err
    assert cli.state(1) == "blocked"
    return cli, re.findall(r"unledger (request retry 1 --\w+ \w+)", answer.advice)


def outcome(cli: Cli) -> Any:
    return json.loads(cli("work", "--json").out)


def test_another_solver_named_as_the_hint_says_passes(blocked: tuple[Cli, list[str]]) -> None:
    cli, [solver, _] = blocked
    assert solver == "request retry 1 --solver redirect"
    cli(*shlex.split(solver))
    done = outcome(cli)
    assert done["request"]["state"] == "fulfilled"
    assert (done["version"]["recipe"]["solver"], done["version"]["recipe"]["solvers"]) == ("redirect", ["redirect"])
    assert (done["measured"]["level"], done["missed_gates"]) == (1, [])
    assert done["measured"]["retained"]["loss_against_mask"] <= 0.005
    assert done["measured"]["forgotten_accuracy"] <= 0.05
    shown = cli.json("model", "show", "projected:1")
    assert {one["evaluator"] for one in shown["evidence"]} >= {"accuracy", "confusion"}
    request = cli.json("request", "show", "1")
    assert (request["solvers"], request["waiver"], request["missed_gates"]) == (["redirect"], None, [])
    assert request["gates"] == shown["gates"]["digest"]
    assert shown["gates"]["conditions"] == [CONDITION, "forgotten_accuracy <= 0.05"]
    cli.verified()


def test_a_waiver_as_the_hint_says_passes_and_is_visible(blocked: tuple[Cli, list[str]]) -> None:
    cli, [_, waiver] = blocked
    assert waiver == "request retry 1 --waive REASON"
    assert "is no reason" in cli.refused(UsageError, 2, *shlex.split(waiver)).err
    cli(*shlex.split(waiver)[:-1], "good enough")
    answer = cli("work")
    assert "version 1: L1 outputs; on " in answer.err
    assert "waived gate: loss_against_mask is 0.01" in answer.err
    request = cli.json("request", "show", "1")
    assert (request["state"], request["gates_waived"]) == ("fulfilled", True)
    assert (request["waiver"], request["missed_gates"]) == ("good enough", [CONDITION])
    table = cli("request", "show", "1").out
    assert "waiver" in table
    assert CONDITION in table
    cli.verified()


def test_a_model_shows_its_own_gates(cli: Cli) -> None:
    before = cli.json("model", "show", "digits")["gates"]
    assert (before["level"], before["conditions"]) == (1, [])
    with (cli.root / "unledger.toml").open("a") as file:
        file.write(POLICY)
    gates = cli.json("model", "show", "digits")["gates"]
    assert gates["conditions"] == ["forgotten_accuracy <= 0.05", "loss_against_mask <= 0.5"]
    assert gates["digest"] != before["digest"]
    assert gates["max_retained_drop"] == 0.1
    table = cli("model", "show", "digits").out
    assert gates["digest"] in "".join(table.split())  # which a narrow terminal breaks
    assert "loss_against_mask <= 0.5" in table


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--waive", " "), "--waive needs a reason"),
        (("--waive", "one", "--reason", "two"), "give two reasons"),
        (("--solver", "magic"), "no solver is called magic"),
    ],
)
def test_half_a_decision_is_refused(blocked: tuple[Cli, list[str]], options: tuple[str, ...], message: str) -> None:
    cli, _ = blocked
    assert message in cli.refused(UsageError, 2, "request", "retry", "1", *options).err


def test_a_policy_that_cannot_be_read_is_told_with_its_place(cli: Cli) -> None:
    with (cli.root / "unledger.toml").open("a") as file:
        file.write('[gates]\nconditions = ["loss_agianst_mask <= 0.1"]\n')
    answer = cli("status", code=2)
    assert type(answer.error) is UsageError
    assert "[gates] in" in answer.err
    assert "did you mean loss_against_mask?" in answer.err
