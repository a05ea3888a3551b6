"""The wheel in an environment that holds what it declares and nothing else."""

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.installation.story import CODES, ENGINE, REFUSED, WEB, WORKS, answers, ledger_made_elsewhere

ROOT = Path(__file__).parents[2]
# Read once at import: tests run with the environment guarded.
FULL_SIZE = os.environ.get("FULL_SIZE") == "1"
MOST_BYTES = 100_000_000
"""Of the whole environment. docs/installation.md tells the figure."""


def run(*command: str | Path, cwd: Path = Path("/")) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "UNLEDGER"))}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


def done(*command: str | Path) -> str:
    result = run(*command)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    tracked = done("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in tracked:
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "benchmarks/")):
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    done(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", folder / "source")
    [built] = (folder / "dist").glob("*.whl")
    return built


def declared(names: list[str], seen: dict[str, Distribution]) -> Iterator[Distribution]:
    """Yield the installed distributions that requirements ask for, and what these ask for."""
    for text in names:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        name = needed.name.lower().replace("_", "-")
        if name not in seen:
            seen[name] = distribution(name)
            yield seen[name]
            yield from declared(seen[name].requires or [], seen)


def link_declared(wheel: Path, site: Path) -> None:
    """Link what the wheel declares from the environment that runs the tests: no package index is asked."""
    done(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel)
    [ours] = site.glob("unledger-*.dist-info")
    for needed in declared(Distribution.at(ours).requires or [], {}):
        for file in needed.files or []:
            place = site / file.parts[0]
            # What lies outside, such as a script, is not imported.
            if file.parts[0] != ".." and not place.exists():
                place.symlink_to(str(needed.locate_file(file.parts[0])))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lean") / "env"
    venv.create(folder, with_pip=FULL_SIZE, symlinks=True)
    python = folder / "bin" / "python"
    if FULL_SIZE:
        done(python, "-m", "pip", "install", wheel)
    else:
        link_declared(wheel, Path(done(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()))
    return python


@pytest.mark.slow
def test_the_environment_holds_no_engine_and_no_server(environment: Path) -> None:
    names = ", ".join(map(repr, ENGINE + WEB))
    asked = f"from importlib.util import find_spec; print([n for n in ({names},) if find_spec(n)])"
    assert done(environment, "-c", asked).strip() == "[]"
    where = done(environment, "-P", "-c", "import ledger; print(ledger.__file__)")
    assert str(environment.parents[1]) in where


@pytest.mark.slow
def test_everything_that_needs_no_engine_works_and_the_rest_is_refused(environment: Path, tmp_path: Path) -> None:
    root = ledger_made_elsewhere(tmp_path)
    # Refusals first: what they would have begun, the rest would meet.
    lines = ["db upgrade", "audit adopt digits --yes", *REFUSED, *WORKS]
    told = answers(root, lines, environment, ())
    failed = [
        f"{line}: {code} {crash}\n{out}\n{err}"
        for line, (code, out, err, crash) in zip(lines, told, strict=True)
        if (code, crash) != (1 if line in REFUSED else CODES.get(line, 0), None)
        or (line in REFUSED and "pip install 'unledger[engine]'" not in err)
    ]
    assert not failed, "\n".join(failed)


@pytest.mark.slow
@pytest.mark.skipif(not FULL_SIZE, reason="asks a package index: FULL_SIZE=1")
def test_it_is_as_small_as_the_docs_say(environment: Path) -> None:
    files = [path for path in environment.parents[1].rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
