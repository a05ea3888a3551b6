"""The wheel holds everything and works away from the source tree, a third party's plugin included."""

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAPPED = {"ledger": "ledger", "cli": "ledger.cli", "plugins": "ledger.plugins", "migrations": "ledger.migrations"}

CORE = {
    *("alembic", "cryptography", "fsspec", "httpx", "jinja2", "markupsafe", "msgspec", "orjson", "pluggy"),
    *("rfc8785", "rich", "sqlalchemy", "typer"),
}

PLUGIN = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "unledger-entropy"
version = "1.2.3"
[project.entry-points.unledger]
entropy = "unledger_entropy"
broken = "unledger_entropy_broken"
misspelt = "unledger_entropy_misspelt"
[tool.setuptools]
py-modules = ["unledger_entropy", "unledger_entropy_broken", "unledger_entropy_misspelt"]
""",
    "unledger_entropy.py": """
from ledger.hookspecs import hookimpl

class Entropy:
    name = "entropy"

    def evaluate(self, data):
        p = data.test.probabilities
        return {"mean": float(-(p * p.clip(1e-12)).sum(axis=1).mean())}

@hookimpl
def unledger_evaluators():
    return (Entropy(),)
""",
    "unledger_entropy_broken.py": "raise RuntimeError('no licence server')\n",
    "unledger_entropy_misspelt.py": """
from ledger.hookspecs import hookimpl

@hookimpl
def unledger_evaluatorz():
    return ()
""",
}


def run(*command: str | Path, cwd: Path | str = "/", **env: str) -> str:
    """Run a command away from the source tree and return its stdout."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "UNLEDGER"))} | env
    result = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_core_needs_no_more_packages_than_it_did() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=\[]", each)[0] for each in project["dependencies"]}
    assert needed == CORE, "whoever only keeps a ledger installs these; what computes or serves belongs to an extra"


def test_every_package_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join([name, *path.parent.relative_to(ROOT / folder).parts])
        for folder, name in MAPPED.items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert found == set(declared)
    # Under the source tree these would hide the packages that are mapped beneath `ledger`.
    assert not [name for name in ("cli", "plugins", "migrations") if list((ROOT / "ledger").glob(f"{name}*"))]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scripts folder of an environment with our wheel and a stranger's plugin in it.

    Dependencies are seen through the environment that runs the tests: what is tested here is our wheel.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # From a clean copy: a stale build folder can hide a module that is missing from the sources.
    tracked = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in tracked:
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "benchmarks/")):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    stranger = folder / "stranger"
    stranger.mkdir()
    for name, text in PLUGIN.items():
        (stranger / name).write_text(text)
    for project in (source, stranger):
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", project)
    environment = folder / "env"
    venv.create(environment, with_pip=True, symlinks=True)
    python = environment / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(_dependencies_without_us(folder))
    wheels = sorted((folder / "dist").glob("*.whl"))
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", *wheels)
    return environment / "bin"


def _dependencies_without_us(folder: Path) -> str:
    """Return a folder of links to the installed dependencies, without the editable install of ourselves."""
    import sysconfig

    links = folder / "dependencies"
    links.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        private = entry.name.startswith("_") and not entry.name.startswith("_cffi_backend")
        if "unledger" not in entry.name and not private and entry.suffix != ".pth":
            (links / entry.name).symlink_to(entry)
    for name in ("_distutils_hack",):
        (links / name).unlink(missing_ok=True)
    return f"{links}\n"


@pytest.mark.slow
def test_the_wheel_is_what_runs(installed: Path) -> None:
    where = run(installed / "python", "-P", "-c", "import ledger.plugins, ledger; print(ledger.__file__)")
    assert str(installed.parent) in where


@pytest.mark.slow
def test_a_ledger_can_be_made_from_the_root_folder(installed: Path, tmp_path: Path) -> None:
    run(installed / "unledger", "init", tmp_path / "ledger")
    checks = json.loads(run(installed / "unledger", "--ledger", tmp_path / "ledger", "audit", "verify", "--json"))
    assert checks["ok"] is True
    assert "r0003" in run(installed / "unledger", "--ledger", tmp_path / "ledger", "db", "current")


@pytest.mark.slow
def test_plugins_of_strangers_are_found_and_broken_ones_reported(installed: Path) -> None:
    listed = json.loads(run(installed / "unledger", "plugins", "--json"))["items"]
    by_name = {item["name"]: item for item in listed}
    assert by_name["entropy"] == {
        "name": "entropy",
        "version": "1.2.3",
        "builtin": False,
        "hooks": ["unledger_evaluators"],
        "error": None,
    }
    assert "no licence server" in by_name["broken"]["error"]
    assert "unledger_evaluatorz" in by_name["misspelt"]["error"]
    assert by_name["layers_conv"]["builtin"] is True


@pytest.mark.slow
def test_plugins_of_strangers_can_be_switched_off(installed: Path) -> None:
    listed = json.loads(run(installed / "unledger", "plugins", "--json", UNLEDGER_PLUGINS=""))["items"]
    assert {item["name"] for item in listed if not item["builtin"]} == set()
    listed = json.loads(run(installed / "unledger", "plugins", "--json", UNLEDGER_PLUGINS="entropy"))["items"]
    assert {item["name"] for item in listed if not item["builtin"]} == {"entropy"}
