"""What people get wrong when they ask for something: each mistake has its error, its exit code, and no effect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ledger.errors import (
    ConflictError,
    GateError,
    IdempotencyConflictError,
    LedgerError,
    NotFoundError,
    OverdueError,
    RefusedError,
    TooFewRetainedError,
    TransitionError,
    UnknownClassError,
    UsageError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.command_line import Cli

# -- classes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["forget", "preview"])
def test_an_unknown_class_is_answered_with_what_may_have_been_meant(pets: Cli, command: str) -> None:
    answer = pets.refused(UnknownClassError, 2, command, "pets", "-c", "dgo")
    assert "no class is called 'dgo'" in answer.err
    assert "did you mean 'dog'?" in answer.err


def test_an_index_out_of_range_is_unknown_too(cli: Cli) -> None:
    cli.refused(UnknownClassError, 2, "forget", "digits", "-c", "10")
    answer = cli.refused(UnknownClassError, 2, "forget", "digits", "-c", "banana")
    assert "an index from 0 to 9" in answer.err


@pytest.mark.parametrize("text", ["", " 3", "3 ", "-1", "3.0", "³", "name:", "index:", "9" * 5000])
def test_nothing_is_corrected(cli: Cli, text: str) -> None:
    cli.refused(UnknownClassError, 2, "forget", "digits", "-c", text)


def test_one_bad_class_spoils_the_request(cli: Cli) -> None:
    cli.refused(UnknownClassError, 2, "forget", "digits", "-c", "3", "-c", "three")


def test_a_label_that_is_another_ones_index_is_a_label(pets: Cli) -> None:
    answer = pets("forget", "pets", "-c", "1", "--json")
    assert answer.document["items"][0]["classes"] == ["1"]
    assert "1 is class 1 (index 0)" in answer.err
    assert pets("preview", "pets", "--index", "1", "--json").document["forgotten"] == ["dog"]
    assert pets("forget", "pets", "-c", "index:1", "--json").document["items"][0]["classes"] == ["dog"]
    assert "--index 3 for '[/fox]" in pets.refused(UnknownClassError, 2, "forget", "pets", "-c", "3").err
    assert "--index 9" not in pets.refused(UnknownClassError, 2, "forget", "pets", "--index", "9").err


@pytest.mark.parametrize("classes", [range(10), range(9)], ids=["all", "all but one"])
def test_a_model_must_retain_something(cli: Cli, classes: range) -> None:
    options = [text for k in classes for text in ("-c", str(k))]
    answer = cli.refused(TooFewRetainedError, 7, "forget", "digits", *options)
    assert f"would retain {10 - len(classes)} of 10 classes" in answer.err
    cli.refused(TooFewRetainedError, 7, "preview", "digits", *options)


def test_open_requests_count_towards_the_minimum(cli: Cli) -> None:
    cli("forget", "digits", *(text for k in range(7) for text in ("-c", str(k))))
    cli.refused(TooFewRetainedError, 7, "forget", "digits", "-c", "7", "-c", "8")
    cli("forget", "digits", "-c", "7")


def test_a_class_already_forgotten_gets_a_receipt(forgotten: Cli) -> None:
    before = forgotten.versions()
    answer = forgotten("forget", "digits", "-c", "3", "--reason", "me too")
    assert "request 3: already forgotten in version 2; nothing to do" in answer.err
    assert forgotten.versions() == before
    receipt = forgotten.json("request", "show", "3")
    assert (receipt["state"], receipt["no_op"], receipt["version"]) == ("fulfilled", True, 2)
    assert "nothing to do" in forgotten("work").err
    forgotten.verified()


@pytest.mark.parametrize("arguments", [(), ("-c", "3", "-f", "-")], ids=["neither", "both"])
def test_classes_come_from_one_place(cli: Cli, arguments: tuple[str, ...]) -> None:
    cli.refused(UsageError, 2, "forget", "digits", *arguments)


def test_a_preview_needs_a_class(cli: Cli) -> None:
    cli.refused(UsageError, 2, "preview", "digits")


# -- dates and keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "date",
    ["soon", "2026-02-30", "31.12.2026", "2026-13-01", "2026", "9999-12-31", "0001-01-01T00:00+14:00", "1e9"],
)
@pytest.mark.parametrize("option", ["--due", "--received-at"])
def test_a_date_must_be_one(cli: Cli, option: str, date: str) -> None:
    cli.refused(UsageError, 2, "forget", "digits", "-c", "3", option, date)


def test_nothing_is_due_before_it_was_received(cli: Cli) -> None:
    answer = cli.refused(
        UsageError, 2, "forget", "digits", "-c", "3", "--received-at", "2026-03-31", "--due", "2026-03-30"
    )
    assert "due 2026-03-30 23:59 UTC lies before received 2026-03-31 00:00 UTC" in answer.err


def test_what_was_live_at_no_date(cli: Cli) -> None:
    cli.refused(UsageError, 2, "model", "versions", "digits", "--at", "some day")
    cli.refused(NotFoundError, 3, "model", "versions", "digits", "--at", "1999-12-31")


def test_one_key_means_one_request(cli: Cli) -> None:
    command = ("forget", "digits", "-c", "3", "--reason", "r", "--idempotency-key", "ticket-1")
    first = cli.json(*command)["items"][0]
    with cli.unchanged():
        again = cli(*command)
        second = cli.json(*command)["items"][0]
    assert "request 1 was filed before under this key; nothing was added" in again.err
    assert (first.pop("repeated"), second.pop("repeated")) == (False, True)
    assert {**second, "days_left": 0} == {**first, "days_left": 0}


@pytest.mark.parametrize("changed", [("-c", "4"), ("-c", "3", "--reason", "other"), ("-c", "3", "--due", "2031-01-01")])
def test_a_key_cannot_be_used_for_something_else(cli: Cli, changed: tuple[str, ...]) -> None:
    cli("forget", "digits", "-c", "3", "--idempotency-key", "ticket-1")
    cli.refused(IdempotencyConflictError, 4, "forget", "digits", *changed, "--idempotency-key", "ticket-1")


# -- request files ------------------------------------------------------------------------------------

GOOD = '3\n# a comment\n\n{"classes": [4, "5"], "reason": "why", "due_at": "2031-01-01"}\n'


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        ("cat", UnknownClassError, "no class is called 'cat'"),
        ("6,", UnknownClassError, "no class is called ''"),
        ("[6]", UnknownClassError, "no class is called '[6]'"),
        ('{"classes": ["6"]', UsageError, "is no request"),
        ('{"reason": "x"}', UsageError, "it lacks 'classes'"),
        ('{"classes": "67"}', UsageError, "classes must be a list"),
        ('{"classes": 6}', UsageError, "classes must be a list"),
        ('{"classes": [6], "external_id": 17}', UsageError, "everything else a text"),
        ('{"classes": [6], "due_at": null}', UsageError, "everything else a text"),
        ('{"classes": [6], "due_at": "soon"}', UsageError, "'soon' is no date"),
        ('{"classes": [6], "urgent": "yes"}', UsageError, "urgent"),
        ('{"classes": [6], "actor": "somebody else"}', UsageError, "it has 'actor'; a line may have classes, reason"),
        ('{"model": "digits", "classes": [6]}', UsageError, "it has 'model'; a line may have"),
        ('{"classes": [6], "due": "today"}', UsageError, "received_at, due_at, idempotency_key"),
        ('{"class": 6, "due": "today"}', UsageError, "it has 'class', 'due'; a line may have classes"),
    ],
)
def test_one_bad_line_spoils_the_file(cli: Cli, line: str, error: type[LedgerError], said: str) -> None:
    answer = cli.refused(error, error.exit_code, "forget", "digits", "-f", "-", text=GOOD + line + "\n")
    assert said in answer.err
    assert "-:5" in answer.err


@pytest.mark.parametrize(("line", "error"), [('{"classes": []}', UsageError), ("0,1,2,6,7,8,9", TooFewRetainedError)])
def test_one_impossible_request_spoils_the_file(cli: Cli, line: str, error: type[LedgerError]) -> None:
    cli.refused(error, error.exit_code, "forget", "digits", "-f", "-", text=GOOD + line + "\n")


def test_a_key_used_twice_in_a_file_for_different_things(cli: Cli) -> None:
    lines = [{"classes": [k], "idempotency_key": "one key"} for k in (3, 4)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    cli.refused(IdempotencyConflictError, 4, "forget", "digits", "-f", "-", text=text)


def test_the_file_must_be_there_and_readable(cli: Cli, tmp_path: Path) -> None:
    cli.refused(NotFoundError, 3, "forget", "digits", "-f", str(tmp_path / "none"))
    cli.refused(UsageError, 2, "forget", "digits", "-f", str(tmp_path))
    (tmp_path / "latin").write_bytes(b"\xff\xfe3")
    cli.refused(UsageError, 2, "forget", "digits", "-f", str(tmp_path / "latin"))
    cli.refused(UsageError, 2, "forget", "digits", "-f", "-", text="# nothing\n\n")


# -- what does not exist ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        "model show nobody",
        "model show digits:7",
        "model versions nobody",
        "model diff digits 0 7",
        "model verify nobody",
        "model coverage nobody",
        "model spaces nobody",
        "model export digits:7 -o out",
        "preview nobody -c 3",
        "forget nobody -c 3",
        "request show 7",
        "request list nobody",
        "request deny 0",
        "request retry 7",
        "request withdraw 7",
        "work nobody",
        "status nobody",
        "evaluate nobody",
        "evaluate digits:7",
        "evaluate digits --against 7",
        "evaluate digits --against none.safetensors",
        "rollback digits --to 7 --yes",
        "rollback digits --to -1 --yes",
        "rollback nobody --to 0 --yes",
        "report nobody",
        "audit log nobody",
        "audit verify --file none",
    ],
)
def test_what_does_not_exist_is_not_found(cli: Cli, arguments: str) -> None:
    cli.refused(NotFoundError, 3, *arguments.split())


@pytest.mark.parametrize(
    "arguments",
    [
        "request show 99999999999999999999",
        "rollback digits --to 99999999999999999999 --yes",
        "model show digits:x",
        "report",
        "report digits --all",
        "report --all --csv numbers",
        "evaluate digits:-1",
        "evaluate digits -e guesswork",
        "work --once --drain",
        "audit verify --against 12",
        "audit log --after 99999999999999999999",
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(cli: Cli, arguments: str) -> None:
    cli.refused(UsageError, 2, *arguments.split())


@pytest.mark.parametrize(
    "arguments",
    ["forgot digits", "request show three", "rollback digits", "rollback digits --to one", "forget", "status --colour"],
)
def test_what_the_parser_refuses_has_the_same_code(cli: Cli, arguments: str) -> None:
    with cli.unchanged():
        answer = cli(*arguments.split(), code=2)
    assert answer.error is None
    assert "Usage:" in answer.err


def test_there_must_be_a_ledger(tmp_path: Path, cli: Cli) -> None:
    elsewhere = type(cli)(tmp_path / "elsewhere")
    answer = elsewhere("status", code=3)
    assert isinstance(answer.error, NotFoundError)
    assert "unledger init" in answer.err


def test_a_folder_holds_one_ledger(cli: Cli) -> None:
    cli.refused(ConflictError, 4, "init", str(cli.root))


@pytest.mark.parametrize("text", ["database = 7", "nonsense", 'database = "x"\nstore = "y"\ncolour = "z"\n', ""])
def test_a_broken_configuration_is_named(cli: Cli, text: str) -> None:
    (cli.root / "unledger.toml").write_text(text)
    answer = cli("status", code=2)
    assert isinstance(answer.error, UsageError)
    assert "unledger.toml" in answer.err


@pytest.mark.parametrize("url", ["mysql://localhost/x", "nonsense", "sqlite:////no/such/folder/ledger.db"])
def test_a_ledger_that_cannot_be_made_leaves_no_trace(tmp_path: Path, cli: Cli, url: str) -> None:
    answer = cli("init", str(tmp_path / "new"), "--db", url, code=1 if "sqlite" in url else 2)
    assert isinstance(answer.error, LedgerError)
    assert list((tmp_path / "new").iterdir()) == []


# -- states -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["approve", "hold", "release", "retry", "deny", "cancel"])
def test_a_fulfilled_request_can_only_be_withdrawn(forgotten: Cli, action: str) -> None:
    answer = forgotten.refused(TransitionError, 4, "request", action, "1")
    assert f"request 1 is fulfilled; it cannot {action} from there" in answer.err
    assert "allowed now: withdraw" in answer.err


def test_an_ended_request_stays_ended(cli: Cli) -> None:
    cli("forget", "digits", "-c", "3")
    cli("request", "deny", "1", "--reason", "not ours")
    for action in ("retry", "withdraw", "approve", "cancel"):
        answer = cli.refused(TransitionError, 4, "request", action, "1")
        assert "this state is final" in answer.err


def test_a_request_that_waits_for_approval_is_not_worked_on(cli: Cli) -> None:
    cli("forget", "digits", "-c", "3", "--needs-approval", "--wait")
    assert cli.state(1) == "awaiting_approval"
    assert "nothing to do" in cli("work").err
    cli("request", "approve", "1")
    assert cli.state(1) == "queued"


def test_a_rollback_needs_a_terminal_or_a_yes(forgotten: Cli) -> None:
    with forgotten.unchanged():
        answer = forgotten("rollback", "digits", "--to", "1", code=7, text="y\n")
    assert type(answer.error) is RefusedError
    assert "add --yes" in answer.err
    # What it would have done was shown all the same.
    assert "known again after this: 7" in answer.err


def test_a_rollback_to_what_is_live_is_refused(forgotten: Cli) -> None:
    forgotten.refused(ConflictError, 4, "rollback", "digits", "--to", "2", "--yes")


def test_a_missed_gate_has_its_own_code(cli: Cli) -> None:
    cli("model", "add", "strict", *weak_options(cli))
    answer = cli("forget", "strict", "-c", "3", "--wait", code=6)
    assert type(answer.error) is GateError
    assert "accept it as it is, and say why: unledger request retry 1 --waive REASON" in answer.advice
    assert cli.state(1) == "blocked"
    assert len(cli.versions("strict")) == 1
    cli.verified()
    assert "a gate would stop this: 3 is still recognised" in cli("preview", "strict", "-c", "3").err


def weak_options(cli: Cli) -> list[str]:
    """Return options that register the digits network with an edit too weak to forget."""
    shown = cli.json("model", "show", "digits")
    weights = cli.root / "exported" / "model.safetensors"
    cli("model", "export", "digits:0", "--output", str(weights.parent))
    settings = ("alpha_r=[1000]", "alpha_f=[1]", "retain_samples=10", "forget_samples=10", "rows_per_class=20")
    return [
        *("--arch", shown["architecture"], "--weights", str(weights), "--data", "digits"),
        *("--input-size", "1x32x32", "--mean", "0.3", "--std", "0.35"),
        *("--solver", "projection", "--solver", "least-squares"),
        *(text for setting in settings for text in ("--set", setting)),
    ]


def test_overdue_requests_have_their_own_code(cli: Cli) -> None:
    cli("status", "--overdue")
    cli("forget", "digits", "-c", "3", "--received-at", "2020-01-31")
    with cli.unchanged():
        answer = cli("status", "--overdue", code=8)
        assert cli("status").code == 0
        assert cli("status", "--overdue", "--json", code=8).document["models"][0]["overdue"] == [1]
    assert type(answer.error) is OverdueError
    # One month after the last of January is the last of February.
    assert "2020-02-29" in answer.out
    cli("request", "deny", "1")
    cli("status", "--overdue")


# -- text that would mislead a terminal ---------------------------------------------------------------


def test_what_people_wrote_is_shown_and_never_obeyed(pets: Cli) -> None:
    reason = "[/red] [bold]bold[/bold] \x1b[31mred\x1b[0m \u202eright to left"
    pets("forget", "pets", "-c", "[/fox]\\", "--reason", reason, "--external-id", "[1]")
    for command in ("request show 1", "request list", "audit log", "status"):
        shown = pets(*command.split()).out
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "[/fox]\\" in shown or command == "audit log"
    assert "\\x1b[31mred\\x1b[0m" in " ".join(pets("request", "show", "1").out.split())
    assert pets.json("request", "show", "1")["reason"] == reason
    assert "no class is called '[/red]'" in pets("forget", "pets", "-c", "[/red]", code=2).err
    assert "[/fox]\\" in pets("preview", "pets", "-c", "[/fox]\\").err
    assert "[/fox]\\" in pets("work", code=None).err
