"""The good path: what commands print, to whom, and how fast help comes."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ledger.cli import completion

from ledger import __version__
from ledger.errors import ConflictError

if TYPE_CHECKING:
    from tests.ledgers.command_line import Cli
    from tests.ledgers.rows import Rows

UNLEDGER = str(Path(sys.executable).with_name("unledger"))
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        command,
        env={**os.environ, **ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# -- JSON ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "schema"),
    [
        ("model list", "models"),
        ("model show digits", "model"),
        ("model show digits:1", "model"),
        ("model versions digits", "versions"),
        ("model versions digits --at 2100-01-01", "versions"),
        ("model diff digits 0 2", "diff"),
        ("model verify digits", "verification"),
        ("model coverage digits", "coverage"),
        ("model spaces digits", "class_spaces"),
        ("preview digits -c 0", "preview"),
        ("request list", "requests"),
        ("request list digits --state fulfilled", "requests"),
        ("request show 1", "request"),
        ("status", "status"),
        ("status digits --overdue", "status"),
        ("rollback digits --to 0 --dry-run", "rollback"),
        ("audit log", "audit"),
        ("audit log digits --after 3", "audit"),
        ("audit verify", "verification"),
        ("doctor", "checks"),
        ("plugins", "plugins"),
        ("db current", "schema"),
    ],
)
def test_what_reads_also_speaks_json(forgotten: Cli, command: str, schema: str) -> None:
    with forgotten.unchanged():
        document = forgotten.json(*command.split())
        table = forgotten(*command.split())
    assert document["schema"] == f"unledger.{schema}/1"
    assert len(document) > 1
    assert document.get("items", True)
    assert (table.out + table.err).strip()


def test_what_writes_speaks_it_too(forgotten: Cli) -> None:
    receipts = forgotten.json("forget", "digits", "-c", "0")
    assert receipts["schema"] == "unledger.receipts/1"
    evaluation = forgotten.json("evaluate", "digits", "--train-per-class", "5")
    assert evaluation["schema"] == "unledger.evaluation/1"
    assert {item["evaluator"] for item in evaluation["evidence"]} >= {"accuracy", "confusion", "membership"}
    assert forgotten.json("rollback", "digits", "--to", "1", "--yes")["reopened"][0]["id"] == 2


def test_what_retained_classes_lose_is_told_against_both_originals(forgotten: Cli) -> None:
    told = r"\(masked original \d+\.\d%: [^;]+; {}\d+\.\d%: [^;]+\)"
    previewed = forgotten("preview", "digits", "-c", "0")
    assert re.search(r"retained classes: \d+\.\d% " + told.format("plain original "), previewed.err)
    evaluated = forgotten("evaluate", "digits", "--train-per-class", "5")
    assert re.search(told.format("plain original "), evaluated.err)
    for attack, share in (("paper", "test"), ("SalUn", "train")):
        [row] = re.findall(rf"{attack} +[\d.]+% +([\d.]+)% +(\d+) +([\d.]+) to ([\d.]+)", evaluated.out)
        assert int(row[1]) == 10 if share == "train" else int(row[1]) > 10
        assert float(row[2]) <= float(row[0]) <= float(row[3])
    assert "kl_masked" in evaluated.out
    assert "kl_retrained" not in evaluated.out
    assert re.search(told.format("compared with "), forgotten("model", "show", "digits").out.replace("\n", ""))
    against = forgotten("evaluate", "digits", "--against", "1", "--train-per-class", "5")
    assert re.search(told.format("version 1 "), against.err)


def test_json_says_what_the_tables_say(forgotten: Cli) -> None:
    shown = forgotten.json("model", "show", "digits")
    assert (shown["live"], shown["forgotten"], shown["version"]["request"]) == (2, ["3", "7"], 2)
    size = {"channels": 1, "height": 32, "width": 32}
    assert shown["preprocessing"] == size | {
        "mean": [0.3],
        "std": [0.35],
        "interpolation": "bilinear",
        "crop_fraction": 1.0,
        "crop_mode": "squash",
    }
    assert [v["live"] for v in forgotten.versions()] == [False, False, True]
    request = forgotten.json("request", "show", "1")
    assert [event["kind"] for event in request["events"]] == [
        *("request.received", "request.claimed", "version.created", "request.fulfilled"),
    ]
    plan = forgotten.json("rollback", "digits", "--to", "0", "--dry-run")
    assert (plan["known_again"], [r["id"] for r in plan["reopened"]]) == (["3", "7"], [1, 2])
    # Numbers, not texts; and times that sort.
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", request["due_at"])


def test_data_goes_to_stdout_and_talk_to_stderr(forgotten: Cli) -> None:
    listed = forgotten("request", "list")
    assert listed.err == ""
    assert "fulfilled" in listed.out
    filed = forgotten("forget", "digits", "-c", "0", "--json")
    assert "next: unledger work --drain" in filed.advice
    assert "next:" not in filed.out
    verified = forgotten("audit", "verify")
    assert re.fullmatch(r"\d+:[0-9a-f]{64}\n", verified.out)
    exported = forgotten("audit", "export")
    entries = [line for line in map(json.loads, exported.out.splitlines()) if "leaf" in line]
    assert len(entries) == int(verified.out.split(":")[0])


# -- the main job -------------------------------------------------------------------------------------


def test_many_requests_from_a_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "requests.txt"
    file.write_text('# one a line\n3\n\n7, name:0\n{"classes": ["index:1", 2], "reason": "r", "external_id": "T-9"}\n')
    items = cli.json("forget", "digits", "-f", str(file), "--basis", "ignored for files")["items"]
    assert [item["classes"] for item in items] == [["3"], ["0", "7"], ["1", "2"]]
    assert [(item["reason"], item["external_id"]) for item in items] == [("", ""), ("", ""), ("r", "T-9")]
    assert [item["state"] for item in items] == ["queued"] * 3


def test_requests_from_standard_input_are_carried_out_at_once(cli: Cli) -> None:
    answer = cli("forget", "digits", "-f", "-", "--wait", text="3\n7\n")
    assert "request 1 (digits: 3) is fulfilled by version 1" in answer.err
    assert "request 2 (digits: 7) is fulfilled by version 2" in answer.err
    assert [v["forgotten"] for v in cli.versions()] == [[], ["3"], ["3", "7"]]


def test_everything_that_can_be_said_about_a_request_is_kept(cli: Cli) -> None:
    said = {"reason": "licence expired", "basis": "licence", "external_id": "T-17"}
    options = [text for key, value in said.items() for text in (f"--{key.replace('_', '-')}", value)]
    cli("forget", "digits", "-c", "3", *options, "--received-at", "2026-01-31", "--due", "2026-12-31T12:00+01:00")
    shown = cli.json("request", "show", "1")
    assert said.items() <= shown.items()
    assert shown["actor"] == "tester"
    assert shown["received_at"] == "2026-01-31T00:00:00+00:00"
    assert shown["due_at"] == "2026-12-31T11:00:00+00:00"
    cli("forget", "digits", "-c", "4", "--received-at", "2024-01-31")
    assert cli.json("request", "show", "2")["due_at"] == "2024-02-29T23:59:59+00:00"


def test_one_at_a_time(cli: Cli) -> None:
    cli("forget", "digits", "-f", "-", text="3\n7\n")
    once = cli("work", "--once")
    assert once.err.count("is fulfilled") == 1
    assert once.advice.endswith("next: unledger evaluate digits\n")
    assert [cli.state(n) for n in (1, 2)] == ["fulfilled", "queued"]
    cli("work", "digits", "--drain")
    assert cli.state(2) == "fulfilled"


def test_a_request_is_held_released_and_withdrawn(forgotten: Cli) -> None:
    forgotten("forget", "digits", "-c", "0", "--wait", "--needs-approval")
    for action, state in [("approve", "queued"), ("hold", "on_hold"), ("release", "queued"), ("cancel", "cancelled")]:
        assert f"request 3 is {state}" in forgotten("request", action, "3", "--reason", "so").err
    answer = forgotten("request", "withdraw", "1", "--reason", "licence renewed")
    assert "request 1 is withdrawn; version 3 is live\nnext: unledger evaluate digits" in answer.advice
    refused = forgotten.refused(ConflictError, 4, "certificate", "issue", "1")
    assert "request 1 is withdrawn: only what was fulfilled can be certified" in refused.err
    assert "see: unledger request show 1" in refused.advice
    assert forgotten.versions()[-1]["forgotten"] == ["7"]
    assert forgotten.json("request", "show", "1")["outcome"] == "licence renewed"


def test_back_and_forth(forgotten: Cli) -> None:
    before = forgotten.versions()
    with forgotten.unchanged():
        dry = forgotten("rollback", "digits", "--to", "1", "--dry-run")
    assert "requests this would reopen" in dry.out
    done = forgotten("rollback", "digits", "--to", "1", "--reason", "second thoughts", "--yes")
    assert "version 3 of digits is live, with the weights of version 1" in done.err
    assert "next: unledger request retry 2" in done.advice
    forgotten("request", "retry", "2")
    forgotten("work")
    weights = [version["weights"] for version in forgotten.versions()]
    assert weights == [*(version["weights"] for version in before), before[1]["weights"], before[2]["weights"]]
    forgotten.verified()


def test_a_timm_architecture_brings_its_own_preprocessing(empty: Cli, tmp_path: Path) -> None:
    from ledger.plugin_manager import build_plugins
    from ledger.weights import tensor_files

    module = build_plugins().load_model("timm/test_resnet", {"in_chans": 1}, 10).module
    (tmp_path / "net.safetensors").write_bytes(tensor_files.serialise(module.state_dict()))
    options = (
        "--weights",
        str(tmp_path / "net.safetensors"),
        "--data",
        "digits",
        "--arch-option",
        "in_chans=1",
        "--accept-accuracy",
    )
    empty("model", "add", "net", "--arch", "timm/test_resnet", *options)
    shown = empty.json("model", "show", "net")
    assert shown["preprocessing"]["channels"] == 1
    assert shown["preprocessing"]["height"] > 32
    assert len(shown["preprocessing"]["mean"]) == 1
    # What the command line says goes before it, and a file before neither.
    (tmp_path / "pre.json").write_text('{"input_size": [1, 32, 32], "mean": [0.1], "crop_pct": 0.9}')
    empty(
        *("model", "add", "own", "--arch", "timm/test_resnet", *options),
        *("--preprocessing", str(tmp_path / "pre.json"), "--mean", "0.4"),
    )
    own = empty.json("model", "show", "own")["preprocessing"]
    # Images of an array are never cropped, and what is recorded is what is done.
    assert (own["height"], own["mean"], own["crop_fraction"]) == (32, [0.4], 1.0)
    covered = empty.json("model", "coverage", "own")["items"]
    assert {item["treatment"] for item in covered} == {"edited", "untouched by design"}


def test_a_report_is_written(forgotten: Cli, tmp_path: Path) -> None:
    forgotten("evaluate", "digits")
    forgotten("report", "digits", "-o", str(tmp_path / "report.html"))
    assert (tmp_path / "report.html").read_text().lower().startswith("<!doctype html>")
    # An earlier report may be evidence of what was known then: it is not replaced unasked.
    refused = forgotten("report", "digits", "-o", str(tmp_path / "report.html"), code=1)
    assert "--force" in refused.err
    numbers = tmp_path / "numbers"
    forgotten("report", "digits", "-o", str(tmp_path / "report.html"), "--csv", str(numbers), "--force")
    # Both versions were measured when they were made.
    tables = sorted(numbers.glob("version-*-accuracy-test.csv"))
    assert [table.name for table in tables] == [f"version-{number}-accuracy-test.csv" for number in (1, 2)]
    assert all(table.read_text().startswith('"class","state"') for table in tables)
    forgotten("report", "--all", "-o", str(tmp_path / "pages"))
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"index.html", "digits.html"}


def test_a_ledger_is_found_from_the_folders_below_it(
    forgotten: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = forgotten.root / "some" / "where"
    below.mkdir(parents=True)
    here = run(UNLEDGER, "model", "list", "--json", UNLEDGER_DIR=str(forgotten.root))
    assert here.returncode == 0
    done = subprocess.run([UNLEDGER, "model", "list", "--json"], cwd=below, capture_output=True, text=True, check=True)
    assert done.stdout == here.stdout != ""


# -- completion ---------------------------------------------------------------------------------------


def context(cli: Cli, *arguments: str, **parameters: Any) -> Any:
    """Return as much of a click context as completion looks at."""
    root = SimpleNamespace(params={"ledger": cli.root})
    return SimpleNamespace(find_root=lambda: root, params=parameters, args=list(arguments))


def test_names_labels_and_numbers_are_completed(pets: Cli, rows: Rows) -> None:
    pets("model", "add", "parrots", *rows.options())
    pets("forget", "pets", "-c", "dog")
    assert completion.model_names(context(pets), "") == ["parrots", "pets"]
    assert completion.model_names(context(pets), "pe") == ["pets"]
    assert completion.class_labels(context(pets, model="pets"), "") == ["1", "dog", "cat", "[/fox]\\", "eel"]
    assert completion.class_labels(context(pets, model="pets:0"), "c") == ["cat"]
    assert completion.class_labels(context(pets, "pets"), "d") == ["dog"]
    assert completion.request_numbers(context(pets), "") == ["1"]


def test_completion_is_silent_where_it_knows_nothing(pets: Cli, tmp_path: Path) -> None:
    assert completion.class_labels(context(pets), "") == []
    assert completion.class_labels(context(pets, model="nobody"), "") == []
    nowhere = type(pets)(tmp_path / "nowhere")
    assert completion.model_names(context(nowhere), "") == []
    assert completion.request_numbers(context(nowhere), "") == []


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("unledger preview ", "pets"),
        ("unledger preview pets -c d", "dog"),
        ("unledger preview pets -c dog -c ", "1 dog cat [/fox]\\ eel"),
        ("unledger forget pets -c ", "1 dog cat [/fox]\\ eel"),
        ("unledger model sho", "show"),
    ],
)
def test_the_shell_is_answered(pets: Cli, words: str, offered: str) -> None:
    done = run(
        UNLEDGER,
        _UNLEDGER_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
        UNLEDGER_DIR=str(pets.root),
    )
    assert done.stdout.split() == offered.split(), done


# -- how it feels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["import ledger", "from ledger.cli.main import main; main()"])
def test_nothing_heavy_is_imported_before_it_is_needed(start: str) -> None:
    report = "print(sorted({'torch', 'numpy', 'timm', 'sklearn', 'sqlalchemy', 'alembic'} & set(sys.modules)))"
    script = f"import sys, atexit\natexit.register(lambda: {report})\nsys.argv = ['unledger', '--help']\n{start}"
    done = run(sys.executable, "-W", "error", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_history_of_a_model_is_short_and_says_what_it_leaves_out(forgotten: Cli) -> None:
    answer = forgotten("audit", "log", "digits")
    lines = answer.out.splitlines()
    assert lines[1].split()[0] == "2"
    assert "only entries about digits; the others, e.g. about the ledger itself: unledger audit log" in answer.advice
    whole = forgotten.json("audit", "log")["items"]
    [folded] = [line for line in lines if "class_space.collected (10 times)" in line]
    first, last = map(int, folded.split()[0].split("-"))
    assert {item["kind"] for item in whole if first <= item["seq"] <= last} == {"class_space.collected"}
    assert last - first == 9
    assert len(lines) < len(whole)
    assert "only entries" not in forgotten("audit", "log").err


def test_versions_of_one_day_show_their_times(forgotten: Cli) -> None:
    out = forgotten("model", "versions", "digits").out.splitlines()[1:]
    assert all(re.search(r"\d\d:\d\d UTC *$", line) for line in out), out
    toml = forgotten.root / "unledger.toml"
    toml.write_text(toml.read_text() + 'time_zone = "Asia/Tokyo"\n')
    assert forgotten("model", "versions", "digits").out.count(" JST") == len(out)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("status", 0),
        ("request list", 0),
        ("request show 1", 0),
        ("audit verify", 0),
        ("model versions digits", 0),
        ("forget digits -c 3", 0),
        ("certificate issue 3", 4),
    ],
)
def test_what_needs_no_network_does_not_wait_for_torch(forgotten: Cli, command: str, code: int) -> None:
    forgotten("forget", "digits", "-c", "1")
    script = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        f"sys.argv = ['unledger', '--ledger', {str(forgotten.root)!r}, *{command.split()!r}]\n"
        "from ledger.cli.main import main\nmain()"
    )
    done = run(sys.executable, "-c", script)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (code, "False"), done


def test_the_version_is_printed() -> None:
    done = run(UNLEDGER, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"unledger {__version__}\n", "")


def test_every_command_explains_itself(cli: Cli) -> None:
    overview = cli("--help").out
    assert "Exit codes: 0 ok" in " ".join(re.sub(r"[│─╭╮╰╯]", " ", overview).split())
    for group in ("", "model", "request", "audit", "db"):
        listed = cli(*group.split(), "--help").out
        names = re.findall(r"^│ ([a-z]+) +\S", listed.partition("Commands" if group else "Start")[2], re.MULTILINE)
        assert names
        for name in names:
            assert "Usage:" in cli(*group.split(), name, "--help").out


def test_no_ansi_codes_where_nobody_looks(pets: Cli) -> None:
    done = run(UNLEDGER, "--ledger", str(pets.root), "request", "show", "7", TERM="xterm-256color")
    assert done.returncode == 3
    assert "error: there is no request 7" in done.stderr
    listed = run(UNLEDGER, "--ledger", str(pets.root), "model", "list", TERM="xterm-256color")
    assert "\x1b" not in done.stderr + listed.stdout


def on_a_terminal(*command: str, **environment: str) -> str:
    """Run a command with a terminal for its output and return all that it printed there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, env={**os.environ, **ENVIRONMENT, **environment}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    printed = b""
    try:
        while part := os.read(ours, 65536):
            printed += part
    except OSError:
        pass  # Linux says so when the other end is closed
    finally:
        os.close(ours)
        process.wait(timeout=60)
    return printed.decode()


def test_colour_is_for_terminals_that_want_it(pets: Cli) -> None:
    command = (UNLEDGER, "--ledger", str(pets.root), "request", "show", "7")
    assert COLOUR.search(on_a_terminal(*command, TERM="xterm-256color"))
    plain = on_a_terminal(*command, TERM="xterm-256color", NO_COLOR="1")
    assert not COLOUR.search(plain)
    assert "there is no request 7" in plain
    assert "\x1b" not in on_a_terminal(*command, TERM="dumb")


# -- the first command --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "begins"),
    [([], "unledger model add "), (["."], "unledger model add "), (["my pets"], "unledger -L 'my pets' model add ")],
)
def test_what_follows_init_is_a_command_that_finds_the_ledger(
    named: list[str], begins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ledger.cli.main import app
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    (said,) = re.findall(r"^next: (.*)$", CliRunner().invoke(app, ["init", *named]).stderr, re.MULTILINE)
    assert said.startswith(begins)
    before_add = shlex.split(said.partition("model add")[0])
    assert CliRunner().invoke(app, [*before_add[1:], "model", "list"]).exit_code == 0
