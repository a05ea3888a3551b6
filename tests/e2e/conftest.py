"""The command line as a person meets it: run in this process where that is the same, in one of its own where not."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from ledger.cli.main import app
from typer.testing import CliRunner

from ledger.errors import LedgerError
from ledger.weights import tensor_files
from tests.fixtures.documents import check_output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fixtures.ledger_contents import Contents
    from tests.fixtures.trained_digits import TrainedDigits


@dataclass(frozen=True)
class Answer:
    """What one command answered."""

    code: int
    out: str
    err: str
    error: LedgerError | None
    """What stood behind a refusal."""

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Cli:
    """Runs commands on the ledger in a folder."""

    root: Path
    contents: Contents

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
        assert answer.error.hint in answer.err
        assert answer.out == ""
        return answer

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Check that the block leaves every row and object as it is, and a history that verifies."""
        before = self.contents(self.root)
        yield
        assert self.contents(self.root) == before
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


def _behind(error: BaseException | None) -> LedgerError | None:
    while error is not None and not isinstance(error, LedgerError):
        error = error.__cause__ or error.__context__
    return error


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory, trained_digits: TrainedDigits, contents: Contents) -> Path:
    """A ledger made by commands, with the digits network in it."""
    root = tmp_path_factory.mktemp("prepared") / "ledger"
    cli = Cli(root, contents)
    cli("init", str(root))
    cli("model", "add", "digits", *trained_digits.options, *trained_digits.set_options)
    return root


@pytest.fixture(scope="session")
def _prepared_forgotten(tmp_path_factory: pytest.TempPathFactory, _prepared: Path, contents: Contents) -> Path:
    """The same after two requests: version 1 has forgotten 3, version 2 also 7."""
    root = tmp_path_factory.mktemp("prepared-forgotten") / "ledger"
    shutil.copytree(_prepared, root)
    cli = Cli(root, contents)
    for digit in ("3", "7"):
        cli("forget", "digits", "-c", digit, "--wait")
    return root


@pytest.fixture
def cli(tmp_path: Path, _prepared: Path, contents: Contents) -> Cli:
    """A ledger with the digits network registered."""
    shutil.copytree(_prepared, tmp_path / "ledger")
    return Cli(tmp_path / "ledger", contents)


@pytest.fixture
def forgotten(tmp_path: Path, _prepared_forgotten: Path, contents: Contents) -> Cli:
    """A ledger where request 1 made version 1 forget 3, and request 2 made version 2 forget 7 as well."""
    shutil.copytree(_prepared_forgotten, tmp_path / "ledger")
    return Cli(tmp_path / "ledger", contents)


ROWS_FACTORY = """\
from torch import nn


def build(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(num_classes * num_classes, num_classes, bias=False))
"""


@dataclass(frozen=True)
class Rows:
    """The files of a toy model: square images as wide as there are classes, where class k is bright in row k."""

    folder: Path
    labels: tuple[str, ...]

    @property
    def weights(self) -> Path:
        """Weights that tell the classes apart."""
        return self.folder / "rows.safetensors"

    def options(self, *replaced: str, **changes: str | Path) -> list[str]:
        """Return what ``model add`` is told about it; keyword arguments replace options, ``replaced`` is added."""
        side = len(self.labels)
        said: dict[str, str | Path] = {
            "arch": f"{self.folder / 'rows.py'}:build",
            "weights": self.weights,
            "data": f"npz:{self.folder / 'rows.npz'}",
            "input-size": f"1x{side}x{side}",
            "mean": "0",
            "std": "1",
        }
        said |= {key.replace("_", "-"): value for key, value in changes.items()}
        return [text for key, value in said.items() for text in (f"--{key}", str(value))] + list(replaced)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the weights."""
        side = len(self.labels)
        weight = torch.zeros(side, side, side)
        weight[range(side), range(side)] = 5.0
        return {"1.weight": weight.flatten(1)}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the images and their classes."""
        side = len(self.labels)
        targets = np.arange(20 * side) % side
        images = np.random.default_rng(0).uniform(0, 0.2, (len(targets), side, side)).astype(np.float32)
        images[np.arange(len(targets)), targets] += 0.8
        return {"x_train": images, "y_train": targets, "x_test": images, "y_test": targets}


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """A toy model whose labels are a trap: the first is the index of the second, another one looks like markup."""
    made = Rows(tmp_path / "rows", ("1", "dog", "cat", "[/fox]\\", "eel"))
    made.folder.mkdir()
    (made.folder / "rows.py").write_text(ROWS_FACTORY)
    made.weights.write_bytes(tensor_files.serialise(made.state()))
    np.savez(made.folder / "rows.npz", labels=np.array(made.labels), **made.arrays())  # type: ignore[arg-type]
    return made


@pytest.fixture
def empty(tmp_path: Path, contents: Contents) -> Cli:
    """A ledger without any model."""
    made = Cli(tmp_path / "ledger", contents)
    made("init", str(made.root))
    return made


@pytest.fixture
def pets(empty: Cli, rows: Rows) -> Cli:
    """A ledger with the toy model registered as ``pets``."""
    empty("model", "add", "pets", *rows.options())
    return empty
