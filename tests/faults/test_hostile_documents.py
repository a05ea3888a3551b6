"""Hostile documents, given to every command that reads one: it ends soon, in little memory, with an error of ours.

All are tried in one child process, which forks for each command; run by itself, this file is that child. A sample of
short ones runs always, ``FULL_SIZE=1`` runs all of them at 10 MB.
"""

import itertools
import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from ledger.config import create_config
from ledger.errors import LedgerError
from ledger.service.ledger import create_ledger
from tests.faults.bounded import Outcome, outcomes_of_child, run_bounded
from tests.faults.hostile_documents import documents, tensor_headers
from tests.ledgers.stand_in import register_stand_in

# Read once at import: tests run with the environment guarded.
FULL_SIZE = os.environ.get("FULL_SIZE") == "1"
SIZE = 10**7 if FULL_SIZE else 3 * 10**5
STEP = 1 if FULL_SIZE else 13
"""Every so many of the tries."""
MOST_SECONDS = 10.0
"""Of processor time."""
MOST_GROWTH = 10**9
"""Bytes of memory beyond what was imported."""
LONGEST_MESSAGE = 1000
Command = Callable[[Path, Path], list[str]]
ADD = ["model", "add", "x", "--arch", "timm/none", "--data", "digits", "--weights", "weights"]
HONEST = Path(__file__).parents[1] / "golden" / "certificates" / "format-1"
SIGNED = ["--key", (HONEST / "key.txt").read_text().strip(), "--opening"]
COMMANDS: dict[str, Command] = {
    "labels": lambda file, _: [*ADD, "--labels", str(file), "--input-size", "1x8x8", "--mean", "0.5", "--std", "1"],
    "preprocessing": lambda file, _: [*ADD, "--preprocessing", str(file)],
    "requests": lambda file, _: ["forget", "cars", "-f", str(file)],
    "certificate": lambda file, _: ["certificate", "verify", str(file)],
    "opening": lambda file, _: ["certificate", "verify", str(HONEST / "certificate-1.json"), *SIGNED, str(file)],
    "log": lambda file, _: ["audit", "verify", "--file", str(file)],
    "import": lambda file, root: ["audit", "import", str(file), "--into", str(root.parent / "archive")],
    "checkpoint": lambda file, _: ["audit", "verify", "--against", str(file)],
    "witness": lambda file, _: ["audit", "witness", str(file)],
    "remembered checkpoint": lambda file, root: [*_in_place(file, root / "keys" / "checkpoint"), "audit", "verify"],
    "signing key": lambda file, root: [*_in_place(file, root / "keys" / "signing.key"), "audit", "checkpoint"],
    "snapshot": lambda file, root: [*_in_place(file, root / "keys" / "snapshot"), "forget", "cars", "-c", "0"],
    "settings": lambda file, root: [*_in_place(file, root / "unledger.toml"), "status"],
    "manifest": lambda file, root: _restore(file, root.parent / "backup"),
}


def _in_place(file: Path, target: Path) -> list[str]:
    target.unlink(missing_ok=True)
    shutil.copy(file, target)
    target.chmod(0o600)
    return []


def _restore(file: Path, backup: Path) -> list[str]:
    backup.mkdir()
    shutil.copy(file, backup / "manifest.json")
    return ["restore", str(backup), "--into", str(backup.parent / "restored")]


# -- the child ----------------------------------------------------------------------------------------


def _run(root: Path, arguments: list[str]) -> None:
    """Run a command; what it refuses is raised, whatever it was that stood behind."""
    from ledger.cli.main import app
    from typer.testing import CliRunner

    os.chdir(root)
    result = CliRunner().invoke(app, ["--ledger", str(root), *arguments])
    caught: BaseException | None = result.exception
    while caught is not None and not isinstance(caught, LedgerError) and caught.__context__ is not None:
        caught = caught.__context__
    if caught is not None:
        raise caught


def _try(made: Path, place: Path, file: Path, command: Command) -> None:
    """Give a command a file, in a ledger of its own."""
    shutil.copytree(made, place)
    _run(place, command(file, place))


def main(folder: Path) -> None:
    """Try everything and print what came of it, one JSON object a line."""
    import torch

    from ledger.weights import tensor_files

    torch.set_num_threads(1)
    made = folder / "made"
    now = datetime(2026, 1, 5, 9, tzinfo=UTC)
    ledger = create_ledger(create_config(made, "sqlite:///ledger.db", "objects"), "tester", clock=lambda: now)
    register_stand_in(ledger, "cars", tuple(f"class {k}" for k in range(10)), b"weights", at=now)
    ledger.close()
    (made / "weights").write_bytes(tensor_files.serialise({"a": torch.zeros(1)}))
    # The first one of each command loads libraries, which is not what is measured.
    harmless = folder / "harmless"
    harmless.write_text("0\n")
    for number, command in enumerate(COMMANDS.values()):
        try:
            _try(made, folder / f"first{number}" / "ledger", harmless, command)
        except LedgerError:
            continue
    files = [*documents(SIZE), *tensor_headers(SIZE)]
    tries = itertools.product(files, COMMANDS.items())
    for number, ((name, content), (way, command)) in enumerate(tries):
        if number % STEP == 0:
            file, place = folder / f"file{number}", folder / f"try{number}"
            file.write_bytes(content)
            place.mkdir()
            outcome = run_bounded(f"{way}: {name}", partial(_try, made, place / "ledger", file, command))
            print(outcome.to_line(), flush=True)  # noqa: T201
            shutil.rmtree(place)
            file.unlink()


# -- the tests ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """What came of every file."""
    return outcomes_of_child(Path(__file__), tmp_path_factory.mktemp("hostile"), seconds=2400)


def test_there_are_enough_of_them(outcomes: list[Outcome]) -> None:
    assert len({o.name for o in outcomes}) == len(outcomes) >= (650 if FULL_SIZE else 45)
    assert {o.name.split(":")[0] for o in outcomes} == COMMANDS.keys()


def test_every_error_is_ours_and_short(outcomes: list[Outcome]) -> None:
    assert [o for o in outcomes if o.error and not o.ours] == []
    assert [o for o in outcomes if len(o.message) >= LONGEST_MESSAGE] == []
    assert [o for o in outcomes if "\x1b" in o.message] == []


def test_most_are_refused(outcomes: list[Outcome]) -> None:
    assert len([o for o in outcomes if o.error]) > len(outcomes) // 2


def test_time_and_memory_are_bounded(outcomes: list[Outcome]) -> None:
    assert [o for o in outcomes if o.seconds > MOST_SECONDS] == []
    assert [o for o in outcomes if o.growth > MOST_GROWTH] == []


if __name__ == "__main__":
    main(Path(sys.argv[1]))
