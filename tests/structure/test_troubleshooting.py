"""The table of troubles: what it quotes is what commands say, and what it advises can be run."""

import ast
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ledger.cli.main import app
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| it says")
]
HOLE = "..."
REGISTERING = "unledger model add"
"""These commands describe a model of the reader's own."""
VALUES = {
    "MODEL": "digits",
    "CLASS": "0",
    "REASON": "because",
    "DIR": ".",
    "SPEC": "digits",
    "FILE": "page.html",
    "N": "3",
    "SCOPE": "read",
}
REQUESTS = {"approve": 5, "release": 6, "retry": 7, "show": 1}
"""The request that a command is about, by the command."""
CODES = {
    "unledger work --drain": {0},
    "unledger request release ID --force --reason REASON": {0, 4},
    "unledger request retry ID": {4},
    "unledger request retry ID --solver projection": {4},
    "unledger request retry ID --waive REASON": {4},
    "unledger doctor": {0, 1},
    "unledger webhook deliveries ID": {3},
    # There is no such file: the ledger at hand has a network of timm.
    "unledger model rebind MODEL --arch FILE.py:factory": {2},
}
"""Exit codes where the ledger at hand has not the trouble that the command helps with."""


def said() -> Iterator[str]:
    """Yield every text in the source, with a hole for what is put in."""
    for folder in ("ledger", "cli", "plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
                elif isinstance(node, ast.JoinedStr):
                    yield "".join(v.value if isinstance(v, ast.Constant) else HOLE for v in node.values)  # type: ignore[misc]


@pytest.fixture(scope="module")
def messages() -> str:
    """Everything that the source can say."""
    return "\0".join(said())


QUOTED = sorted({text for row in ROWS for text in re.findall(r"`([^`]+)`", row[0]) if " " in text})


@pytest.mark.parametrize("quoted", QUOTED)
def test_what_is_quoted_is_said(messages: str, quoted: str) -> None:
    pieces = [re.escape(piece) for piece in quoted.split(HOLE)]
    assert re.search(r"[^\0]*?".join(pieces), messages), f"nothing in the source says: {quoted}"


COMMANDS = sorted({text for row in ROWS for text in re.findall(r"`(unledger [^`]+)`", " ".join(row[1:]))})


def test_every_row_leads_somewhere() -> None:
    assert len(ROWS) > 50
    assert {len(row) for row in ROWS} == {3}
    assert len(COMMANDS) > 25
    assert all(row[2] for row in ROWS)


@pytest.fixture(scope="module")
def troubled(trained_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with requests in most states, and files that commands may be about."""
    folder = tmp_path_factory.mktemp("troubled")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copy(trained_digits.weights, "page.html")
        for line in (
            "init",
            shlex.join(["model", "add", "digits", *trained_digits.options, *trained_digits.set_options]),
            *(f"forget digits -c {k}" for k in (1, 2, 3, 4)),
            "forget digits -c 5 --needs-approval",
            "forget digits -c 6",
            "request hold 6",
            "forget digits -c 7",
            *(f"request cancel {k}" for k in (1, 2, 3, 4, 7)),
        ):
            result = CliRunner().invoke(app, shlex.split(line))
            assert result.exit_code == 0, result.output
    return folder


def filled(line: str) -> list[str]:
    """Return the words of a command with values for what only the reader knows."""
    words = shlex.split(line)[1:]
    number = str(REQUESTS.get(words[1], 1)) if len(words) > 1 else "1"
    if words[0] == "weights":
        return [{"FILE": "page.html", "NEW.safetensors": "new.safetensors"}.get(word, word) for word in words]
    return [number if word == "ID" else VALUES.get(word, word) for word in words]


@pytest.mark.parametrize("line", [line for line in COMMANDS if not line.startswith(REGISTERING)])
def test_what_is_advised_runs(troubled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    shutil.copytree(troubled, tmp_path / "ledger")
    monkeypatch.chdir(tmp_path / "ledger")
    words = filled(line)
    if "purge" in words and "--yes" not in words:
        words.append("--yes")
    if line.startswith("unledger report"):
        Path("page.html").write_text("an earlier page")
    if "--prefix" in words:
        words[words.index("--prefix") + 1] = ""
    result = CliRunner().invoke(app, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
    assert result.exit_code in CODES.get(line, {0}), f"{words}\n{result.output}"


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith(REGISTERING)])
def test_what_is_advised_for_a_registration_is_understood(
    troubled: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """The files are the reader's; what can be known here is that every option is one."""
    monkeypatch.chdir(troubled)
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code in (2, 3), result.output
    assert "No such option" not in result.output
    assert "error: " in result.stderr
