"""Terminals, locales, pipes and folders as people have them: what was asked for is done once, and told."""

from __future__ import annotations

import io
import os
import pty
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ledger.cli import streams
from ledger.cli.main import app
from rich.cells import cell_len
from typer.testing import CliRunner

from ledger.certificates import verifier
from ledger.errors import NotFoundError, UsageError
from tests.ledgers.command_line import COMMANDS, Cli
from tests.ledgers.rows import AWKWARD

if TYPE_CHECKING:
    from collections.abc import Iterator


def requests(cli: Cli) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = cli.json("request", "list")["items"]
    return items


def process(cli: Cli, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "ledger.cli", "--ledger", str(cli.root), *arguments]
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(words, env=environment, stderr=subprocess.PIPE, check=False, timeout=60, **options)


# -- encodings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["table", "json"])
def test_what_a_locale_cannot_print_is_spelled_out(odd: Cli, flags: tuple[str, ...]) -> None:
    before = len(requests(odd))
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = process(
        odd, "forget", "pets", "-c", "été chaud", "--reason", "日本", *flags, env=bare, stdout=subprocess.PIPE
    )
    assert done.returncode == 0, done.stderr
    assert rb"\u00e9t" in done.stdout if flags else rb"\xe9t\xe9 chaud" in done.stdout
    filed = requests(odd)[before:]
    assert [(r["classes"], r["reason"]) for r in filed] == [(["été chaud"], "日本")]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "koi8-r"])
def test_every_stream_takes_every_text(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", written[0])
    monkeypatch.setattr(sys, "stderr", written[1])
    text = "été 日本 \udcff \U0001f600"
    with streams.guarded():
        sys.stdout.write(f"{text}\n")
        sys.stderr.write(f"{text}\n")
        streams.write_bytes(b"\xff\n")
    for stream in written:
        stream.flush()
    spelled = f"{text}\n".encode(encoding, errors="backslashreplace")
    assert [stream.buffer.getvalue() for stream in written] == [spelled + b"\xff\n", spelled]


@pytest.mark.parametrize(
    "arguments",
    [
        ("forget", "pets", "-c", "\udcff"),
        ("forget", "pets", "-c", "eel", "--reason", "caf\udce9"),
        ("forget", "pets", "-c", "eel", "--external-id", "\ud800"),
        ("forget", "pets", "-c", "eel", "--idempotency-key", "\udcff\udcfe"),
        ("status", "\udcff"),
        ("request", "hold", "1", "--reason", "\udcff"),
        ("model", "show", "\udcff"),
    ],
)
def test_what_is_not_utf_8_is_not_recorded(odd: Cli, arguments: tuple[str, ...]) -> None:
    answer = odd.refused(UsageError, 2, *arguments)
    assert "is not text in UTF-8" in answer.err


def test_an_actor_is_text_too(odd: Cli) -> None:
    with odd.unchanged():
        answer = odd("--actor", "\udcff", "forget", "pets", "-c", "eel", code=2)
    assert "actor is not text in UTF-8" in answer.err


# -- streams that fail --------------------------------------------------------------------------------


class Full(io.TextIOWrapper):
    """A standard output on a full disk, or one whose reader has gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self._error = error

    def write(self, _text: str) -> int:
        raise self._error


def run_into(cli: Cli, stream: io.TextIOWrapper | None, *arguments: str) -> tuple[int, str]:
    """Run a command with another standard output; return its exit code and what it told."""
    told = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = stream, told
    try:
        app(["--ledger", str(cli.root), "--actor", "tester", *arguments])
    except SystemExit as left:
        code = left.code
    finally:
        sys.stdout, sys.stderr = before
    told.flush()
    return int(str(code)), told.buffer.getvalue().decode()


def full() -> io.TextIOWrapper:
    return Full(OSError(28, "No space left on device"))


@pytest.mark.parametrize(
    "stream", [full, lambda: Full(OSError(5, "Input/output error")), lambda: None], ids=["full", "bad", "closed"]
)
@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["table", "json"])
def test_a_change_that_cannot_be_told_is_told_elsewhere(odd: Cli, stream: Any, flags: tuple[str, ...]) -> None:
    before = len(requests(odd))
    code, told = run_into(odd, stream(), "forget", "pets", "-c", "eel", *flags)
    filed = requests(odd)[before:]
    assert (code, len(filed)) == (74, 1)
    assert f"the change was made, as entry {odd.json('audit', 'log')['items'][-1]['seq']} of the audit log" in told
    assert f"(request {filed[0]['id']}); do not repeat it" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("arguments", ["status", "request list", "audit log --json", "model list", "doctor"])
def test_what_only_reads_says_that_nothing_happened(odd: Cli, arguments: str) -> None:
    with odd.unchanged():
        code, told = run_into(odd, full(), *arguments.split())
    assert (code, "cannot be written to standard output" in told) == (74, True)
    assert "the change was made" not in told


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_ends_quietly_when_nobody_reads_on(odd: Cli, path: tuple[str, ...]) -> None:
    assert run_into(odd, Full(BrokenPipeError(32, "Broken pipe")), *path, "--help") == (0, "")
    code, told = run_into(odd, full(), *path, "--help")
    assert (code, told.count("error: ")) == (74, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        *("status", "status --json", "request list", "request show 1", "audit log", "audit log --json", "audit key"),
        *("model list --json", "model versions pets", "model show pets", "plugins", "db current --json", "doctor"),
        *("audit export", "fsck --json", "gc --dry-run --json", "--version", "request show 1 --json"),
    ],
)
def test_a_closed_pipe_is_no_failure(odd: Cli, arguments: str) -> None:
    code, told = run_into(odd, Full(BrokenPipeError(32, "Broken pipe")), *arguments.split())
    assert code == 0, told
    assert "error" not in told
    assert "Traceback" not in told


def test_an_error_keeps_its_code_when_nobody_reads_its_document(odd: Cli) -> None:
    for stream in (Full(BrokenPipeError(32, "Broken pipe")), full(), None):
        code, told = run_into(odd, stream, "request", "show", "999", "--json")
        assert (code, "there is no request 999" in told) == (3, True)


def test_a_real_pipe_and_a_real_full_disk(odd: Cli) -> None:
    with Path("/dev/full").open("wb") as device:
        done = process(odd, "audit", "log", stdout=device)
    assert (done.returncode, b"No space left on device" in done.stderr, done.stderr.count(b"\n")) == (74, True, 2)
    reading, writing = os.pipe()
    os.close(reading)
    done = process(odd, "audit", "log", "--json", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_closed_streams_are_not_opened_for_the_database(odd: Cli) -> None:
    def close_all() -> None:
        for number in (0, 1, 2):
            os.close(number)

    words = [sys.executable, "-m", "ledger.cli", "--ledger", str(odd.root), "forget", "pets", "-c", "eel"]
    before = len(requests(odd))
    done = subprocess.run(words, check=False, timeout=60, preexec_fn=close_all)
    assert done.returncode == 74
    assert len(requests(odd)) == before + 1
    odd.verified()


# -- widths and colours -------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["0", "abc", "-5", "1", "20", "007", "99999999999999999999", "", "²"])
def test_any_width_can_be_read(odd: Cli, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert "pets" in odd("status").out
    said = odd("forget", "--help").out
    assert max(len(word) for word in said.split()) > 5
    assert len(said.splitlines()) < 400


TABLES = ("request list", "audit log", "model versions pets", "status", "model show pets", "request show 1")


@pytest.mark.parametrize("columns", [20, 24, 40, 60, 79])
def test_in_a_narrow_terminal_nothing_is_lost(odd: Cli, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    odd("forget", "pets", "-c", "été chaud", "-c", "日本", "--reason", "why " * 20)
    plain = {each: odd(*each.split()).out for each in TABLES}
    monkeypatch.setenv("COLUMNS", str(columns))
    # A process keeps the width that it began with: here, that of whichever test came first.
    monkeypatch.setattr("ledger.cli.render.out._width", None)
    for arguments in TABLES:
        out = odd(*arguments.split()).out
        lost = Counter("".join("".join(plain[arguments].splitlines()[1:]).split())) - Counter("".join(out.split()))
        assert not lost, arguments
        assert max(cell_len(line.rstrip()) for line in out.splitlines()) <= columns, arguments


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}], ids=["no-color", "dumb", "colour"])
def test_no_colour_means_neither_bold_nor_dim(odd: Cli, variables: dict[str, str]) -> None:
    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "TERM"}} | {"TERM": "xterm"} | variables
    words = [sys.executable, "-m", "ledger.cli", "--ledger", str(odd.root), "status"]
    subprocess.run(words, env=environment, stdout=slave, stderr=slave, check=True, timeout=60)
    os.close(slave)
    said = os.read(master, 65536)
    os.close(master)
    assert b"pets" in said
    assert (b"\x1b[" in said) is (not variables)


# -- folders ------------------------------------------------------------------------------------------


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[None]:
    """A current folder that was deleted."""
    before = Path.cwd()
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    yield
    os.chdir(before)


@pytest.mark.usefixtures("nowhere")
def test_a_deleted_folder_is_no_obstacle_for_absolute_paths(odd: Cli, tmp_path: Path) -> None:
    odd("status")
    odd("forget", "pets", "-c", "eel")
    odd("audit", "checkpoint", "-o", str(tmp_path / "checkpoint.txt"))
    odd("audit", "verify", "--against", str(tmp_path / "checkpoint.txt"))


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("status", UsageError),
        ("init", UsageError),
        ("-L here status", NotFoundError),
        ("model add x --arch f.py:f --weights w --data folder:x", UsageError),
        ("audit checkpoint -o checkpoint.txt", UsageError),
        ("backup copies", UsageError),
        ("demo", UsageError),
    ],
)
def test_a_deleted_folder_is_named_where_it_matters(arguments: str, error: type[Exception]) -> None:
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == getattr(error, "exit_code", None), result.output
    assert "error: " in result.stderr
    assert "Traceback" not in result.output


# -- suggestions --------------------------------------------------------------------------------------


def test_what_is_suggested_can_be_run(odd: Cli) -> None:
    """Each line is given to the parser as a shell would give it."""
    for label in AWKWARD[:4]:
        for request in requests(odd):
            if request["state"] == "queued":
                odd("request", "cancel", str(request["id"]))
        said = odd("preview", "pets", "-c", label).err
        _, *words = shlex.split(said[said.index("next: ") + 6 :])
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        assert requests(odd)[-1]["classes"] == [label]
        following = result.stderr[result.stderr.index("next: ") + 6 :]
        assert shlex.split(following) == ["unledger", "-L", str(odd.root), "work", "--drain"]


# -- files that passed through an editor --------------------------------------------------------------


def marked(path: Path) -> Path:
    """Save a file again as some editors do: with a mark of byte order, and other ends of lines."""
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    return path


def test_what_an_editor_adds_breaks_no_signature(forgotten: Cli, tmp_path: Path) -> None:
    key = forgotten("audit", "key").out.strip() + "\r\n"
    forgotten("certificate", "issue", "1", "-o", str(tmp_path / "c.json"), "--openings", str(tmp_path / "o.json"))
    certificate, opening = marked(tmp_path / "c.json"), marked(tmp_path / "o.json")
    said = forgotten("certificate", "verify", str(certificate), "--key", key, "--opening", str(opening))
    assert "3 (index 3)" in said.out
    assert verifier.main([str(certificate), "--key", key.strip(), "--opening", str(opening)]) == 0
    forgotten("audit", "checkpoint", "-o", str(tmp_path / "checkpoint.txt"))
    forgotten("audit", "verify", "--against", str(marked(tmp_path / "checkpoint.txt")))
    forgotten("audit", "export", "-o", str(tmp_path / "log.jsonl"))
    forgotten("audit", "verify", "--file", str(marked(tmp_path / "log.jsonl")), "--key", key)
    marked(forgotten.root / "keys" / "signing.key")
    marked(forgotten.root / "unledger.toml")
    forgotten("audit", "checkpoint")
    forgotten.verified()


def test_nobody_at_the_keyboard_is_told_so(odd: Cli) -> None:
    with odd.unchanged():
        before = sys.stdin
        sys.stdin = None
        try:
            code, told = run_into(odd, io.TextIOWrapper(io.BytesIO()), "forget", "pets", "-f", "-")
        finally:
            sys.stdin = before
    assert (code, "holds no request" in told) == (2, True)
