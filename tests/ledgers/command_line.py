"""The command line as a person meets it: run in this process where that is the same, in one of its own where not."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from ledger.cli.main import app
from typer.testing import CliRunner

from ledger.errors import LedgerError
from tests.fixtures.documents import check_output
from tests.ledgers.contents import ledger_contents, unchanged_contents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Answer:
    """What one command answered."""

    code: int
    out: str
    err: str
    error: LedgerError | None
    """What stood behind a refusal."""

    @property
    def advice(self) -> str:
        """Standard error with its commands as they are where nobody names a ledger."""
        return re.sub(r"unledger -L ('[^']*'|\S+) ", "unledger ", self.err)

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Cli:
    """Runs commands on the ledger in a folder."""

    root: Path

    def __call__(self, *arguments: str, code: int | None = 0, text: str | None = None) -> Answer:
        """Run a command, which must end with an exit code (None: any); ``text`` is its standard input."""
        result = CliRunner().invoke(app, ["--ledger", str(self.root), "--actor", "tester", *arguments], input=text)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert code is None or result.exit_code == code, result.output
        if "--json" in arguments:
            kinds = check_output(result.stdout)
            assert kinds or "work" in arguments, "a command answers with a document"
        return Answer(result.exit_code, result.stdout, result.stderr, _behind(result.exception))

    def json(self, *arguments: str) -> Any:
        """Run a command that reads, and return its document."""
        return self(*arguments, "--json").document

    def refused(self, error: type[LedgerError], code: int, *arguments: str, text: str | None = None) -> Answer:
        """Run a command that must be refused in one way, say why, and leave the ledger as it is."""
        with self.unchanged():
            answer = self(*arguments, code=code, text=text)
        assert type(answer.error) is error, answer
        assert answer.error.exit_code == code
        first = answer.err[answer.err.index("error: ") :]
        assert first.startswith(f"error: {answer.error.message}")
        assert answer.error.hint in answer.advice
        assert answer.out == ""
        return answer

    def contents(self) -> dict[str, Any]:
        """Return all rows and objects."""
        return ledger_contents(self.root)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Check that the block leaves every row and object as it is, and a history that verifies."""
        with unchanged_contents(self.root):
            yield
        self.verified()

    def verified(self) -> None:
        """Check the audit history and every object of every model."""
        assert self.json("audit", "verify")["ok"] is True
        for model in self.json("model", "list")["items"]:
            assert all(item["problem"] is None for item in self.json("model", "verify", model["name"])["items"])
        assert not list((self.root / "objects").rglob(".partial-*"))

    def state(self, number: int) -> str:
        """Return where a request stands."""
        state: str = self.json("request", "show", str(number))["state"]
        return state

    def versions(self, model: str = "digits") -> list[dict[str, Any]]:
        """Return a model's versions."""
        items: list[dict[str, Any]] = self.json("model", "versions", model)["items"]
        return items


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with the words that name it."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path, command


COMMANDS = dict(leaves(typer.main.get_command(app)))


def _behind(error: BaseException | None) -> LedgerError | None:
    while error is not None and not isinstance(error, LedgerError):
        error = error.__cause__ or error.__context__
    return error
