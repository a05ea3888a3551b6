"""The documents say what is true: README's commands run, every hook and state is described."""

import inspect
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ledger.cli.main import app
from typer.testing import CliRunner

from ledger import hookspecs
from ledger.domain.states import Action, RequestState

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def readme_commands() -> list[str]:
    """Return the commands of README's console blocks, without the prompt; those marked as not run are left out."""
    run = re.sub(r"<!-- not run: [^\n]*-->\n```console\n.*?```", "", README, flags=re.DOTALL)
    shown = "".join(re.findall(r"```console\n(.*?)```", run, re.DOTALL))
    return [line.removeprefix("$ ") for line in shown.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the demonstration's folder and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    result = subprocess.run(
        [sys.executable, "-m", "ledger.cli", "demo", "demo"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "demo", result.stdout + result.stderr


@pytest.mark.slow
def test_the_demonstration_shows_what_it_promises(demonstrated: tuple[Path, str]) -> None:
    folder, said = demonstrated
    trained = re.search(r"trained to ([\d.]+)% test accuracy", said)
    assert trained is not None
    assert float(trained[1]) >= 97
    forgotten = re.findall(r"forgotten (\d): ([\d.]+)% -> ([\d.]+)% test accuracy", said)
    assert [digit for digit, _, _ in forgotten] == ["3", "5", "8"]
    assert all(float(before) > 90 and float(after) <= 1 for _, before, after in forgotten)
    *_, retained = re.finditer(r"retained classes: ([\d.]+)% \(masked original ([\d.]+)%: .*mean", said)
    assert float(retained[2]) - float(retained[1]) <= 2
    assert "audit verify ok" in said.splitlines()[-2]
    assert (folder / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_readme_commands_run_in_order(
    demonstrated: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(demonstrated[0] / "digits.safetensors", tmp_path)
    monkeypatch.chdir(tmp_path)
    commands = readme_commands()
    assert len(commands) > 15
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "unledger"
        # In this process: a new one would spend most of its time importing torch.
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{command}\n{result.output}"
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "exported" / "model.safetensors").is_file()


def test_readme_links_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_lists_the_exit_codes_of_the_error_tree() -> None:
    from ledger import errors

    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.LedgerError)}
    flat = README.replace("\n", " ")
    assert [code for code in codes if not re.search(rf"\b{code} [a-z]", flat)] == []


def test_every_hook_is_documented_with_its_arguments() -> None:
    text = (ROOT / "docs" / "plugins.md").read_text()
    hooks = {name: value for name, value in vars(hookspecs).items() if name.startswith("unledger_")}
    assert len(hooks) >= 4
    for name, hook in hooks.items():
        arguments = ", ".join(inspect.signature(hook).parameters)
        assert f"`{name}({arguments})`" in text


def test_every_state_and_action_is_described() -> None:
    text = (ROOT / "docs" / "requests.md").read_text()
    assert [word for word in (*RequestState, *Action) if word.value not in text] == []


def test_the_error_tree_is_drawn_in_full() -> None:
    from ledger import errors

    kinds = [name for name, value in vars(errors).items() if inspect.isclass(value)]
    assert [name for name in kinds if name not in (errors.__doc__ or "")] == []


def test_every_family_of_timm_is_in_the_table() -> None:
    import timm

    text = (ROOT / "docs" / "model-families.md").read_text()
    made = re.search(r"^### timm (\S+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert made is not None
    rows = [line.split(" | ")[0].removeprefix("| ") for line in made[2].splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(set(rows)) > 85
    if made[1] == timm.__version__:
        assert rows == timm.list_modules()
    counted = re.search(r"(\d+) families: (\d+) supported", made[2])
    assert counted is not None
    assert int(counted[1]) == len(rows)
    assert int(counted[2]) == made[2].count("| supported |") >= 85


def test_the_changelog_ends_its_releases_at_the_packaged_version() -> None:
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert headings[1][0] == packaged
    assert all(date for _, date in headings[1:])


def test_commands_for_contributors_are_rules_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    rules = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    declared = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert declared is not None
    assert set(declared[1].split()) == rules
    described = set(re.findall(r"`make (\w+)`", (ROOT / "CONTRIBUTING.md").read_text()))
    assert described == rules - {"clean"}
    hooks = re.findall(r"^ +entry: make (\w+)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert hooks
    assert set(hooks) <= rules
