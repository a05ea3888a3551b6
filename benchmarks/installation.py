"""What an installation without extras takes on disk, and what it costs to begin, for revisions of this repository.

    python benchmarks/installation.py 63e5bfa HEAD

Each revision is checked out and installed with pip into a new environment; packages come from where pip looks for
them. Sizes leave compiled bytecode out. Times are processor time of new processes: revisions take turns, and the
median is shown, with its ratio to the first revision.
"""

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import tarfile
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BARE, IMPORT, HELP = "python", "import ledger", "unledger --help"


@dataclass(frozen=True)
class Installed:
    """A revision in an environment of its own."""

    revision: str
    environment: Path

    @property
    def packages(self) -> Path:
        """Where packages are."""
        return next(self.environment.glob("lib/python3.*/site-packages"))

    @property
    def commands(self) -> dict[str, list[str]]:
        """What is timed."""
        python = str(self.environment / "bin" / "python")
        return {
            BARE: [python, "-P", "-c", "pass"],
            IMPORT: [python, "-P", "-c", "import ledger"],
            HELP: [str(self.environment / "bin" / "unledger"), "--help"],
        }


def run(*command: str | Path) -> bytes:
    """Run a command of ours in an empty environment, and return what it prints."""
    done = subprocess.run(command, cwd=ROOT, env={"PATH": os.defpath}, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own arguments
    return done.stdout


def install(revision: str, folder: Path) -> Installed:
    """Check a revision out and install it."""
    packed = run("git", "archive", revision)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder / "source", filter="data")
    venv.create(folder / "environment", with_pip=True)
    made = Installed(revision, folder / "environment")
    python = made.commands[BARE][0]
    run(python, "-m", "pip", "install", "--quiet", folder / "source")
    # What makes the environment is no part of what was asked for.
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools", "pip")
    return made


def size(folder: Path) -> int:
    """Return the bytes of all files below a folder, without compiled bytecode."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sum(path.stat().st_size for path in files)


def seconds(command: Sequence[str]) -> float:
    """Return the processor time of a new process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(*command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def loaded(made: Installed) -> list[str]:
    """Return the modules that ``import ledger`` loads."""
    code = (
        "import json, sys; known = set(sys.modules); import ledger; print(json.dumps(sorted({*sys.modules} - known)))"
    )
    said = run(made.commands[BARE][0], "-P", "-c", code)
    found: list[str] = json.loads(said)
    return found


def main() -> None:
    """Install, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revisions", nargs="+")
    parser.add_argument("--runs", type=int, default=21)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        made = [install(revision, Path(place) / str(number)) for number, revision in enumerate(arguments.revisions)]
        for one in made:
            for command in one.commands.values():
                seconds(command)
        times: dict[tuple[str, str], list[float]] = {}
        for _ in range(arguments.runs):
            for one in made:
                for name, command in one.commands.items():
                    times.setdefault((one.revision, name), []).append(seconds(command))
        first = made[0].revision
        for one in made:
            distributions = len(list(one.packages.glob("*.dist-info")))
            own, everything = size(one.packages / "ledger"), size(one.packages)
            print(
                f"{one.revision}: {distributions} distributions, {everything / 1e6:.2f} MB,"
                f" {own / 1e6:.2f} MB of it our own; import ledger loads {', '.join(loaded(one))}"
            )
            for name in one.commands:
                median = statistics.median(times[one.revision, name])
                ratio = median / statistics.median(times[first, name])
                print(f"  {name}: {median * 1000:.0f} ms of processor time, {ratio:.2f} times the first")


if __name__ == "__main__":
    main()
