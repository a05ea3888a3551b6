"""Code blocks in every page: Python and commands run, TOML and JSON parse, and what is not run says why."""

import json
import re
import shlex
import shutil
import tomllib
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pluggy
import pytest
import typer
from ledger.cli.main import app
from typer.testing import CliRunner

from ledger import hookspecs
from ledger.hookspecs import EvaluationInput, Outputs
from tests.fixtures.doc_blocks import BLOCK, PAGES, ROOT, Block, blocks, run_in

LANGUAGES = {"python", "toml", "json", "console", "text"}
"""``text`` is for drawings, formulas and file layouts."""
BLOCKS = [block for page in PAGES for block in blocks(page)]
CONSOLE = [block for block in BLOCKS if block.language == "console"]
ELSEWHERE = {ROOT / "README.md", ROOT / "docs" / "tutorial.md", *ROOT.glob("docs/how-to/*.md")}
"""Pages whose commands run in ``test_docs.py``, on the demonstration's weights, and in ``test_tutorial.py``."""
RUN = [page for page in PAGES if any(b.page == page and b.not_run is None for b in CONSOLE) and page not in ELSEWHERE]
"""Pages whose commands run here."""


def identify(value: Block | Path) -> str:
    """Name a parameter of a test."""
    return value.place if isinstance(value, Block) else str(value.relative_to(ROOT))


def of(*languages: str) -> list[Block]:
    """Return the blocks in these languages."""
    return [block for block in BLOCKS if block.language in languages]


def test_there_are_blocks_of_every_language() -> None:
    assert {block.language for block in BLOCKS} == LANGUAGES
    assert len(BLOCKS) > 30


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_every_block_is_fenced_and_says_its_language(page: Path) -> None:
    outside = BLOCK.sub("", page.read_text())
    assert "```" not in outside, "a fence without a language or an end"
    lines = outside.splitlines()
    indented = [b for a, b in pairwise(lines) if not a.strip() and re.match(r" {4,}[^ \-*]", b)]
    assert indented == []
    assert [block.place for block in BLOCKS if block.page == page and block.language not in LANGUAGES] == []


def test_reasons_are_given_where_something_could_run() -> None:
    for block in BLOCKS:
        assert block.not_run is None or (block.language in ("console", "python") and len(block.not_run) > 10), (
            block.place
        )


@pytest.mark.parametrize("block", of("toml"), ids=identify)
def test_toml_parses(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", of("json"), ids=identify)
def test_json_parses(block: Block) -> None:
    assert json.loads(block.text)


def evaluation_input() -> EvaluationInput:
    """Return answers for four images of three classes, one of them forgotten."""
    shares = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.4, 0.3, 0.3]])
    outputs = Outputs(np.array([0, 1, 2, 0]), shares)
    return EvaluationInput(("cat", "dog", "eel"), frozenset({2}), outputs, outputs, outputs, outputs, seed=0)


@pytest.mark.parametrize("block", [block for block in of("python") if block.not_run is None], ids=identify)
def test_python_runs_and_a_plugin_works(block: Block) -> None:
    module = ModuleType("documented_plugin")
    exec(compile(block.text, block.place, "exec"), vars(module))
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()
    assert manager.get_hookcallers(module) or "@hookimpl" not in block.text
    for evaluator in (each for offered in manager.hook.unledger_evaluators() for each in offered):
        metrics = evaluator.evaluate(evaluation_input())
        assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


# -- commands -----------------------------------------------------------------------------------------


def command_of(words: list[str]) -> Any:
    """Return the click command that the words after ``unledger`` name, with its own path.

    Raises:
        KeyError: There is no such command.
    """
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands") or word.startswith("-"):
            break
        command = command.commands[word]
    return command


GLOBAL_OPTIONS = {
    spelling
    for parameter in typer.main.get_command(app).params
    if parameter.param_type_name == "option" and not getattr(parameter, "is_flag", True)
    for spelling in parameter.opts
}
"""Options with a value that stand before the name of a command."""


def check_spelling(command: str) -> None:
    """Fail unless a documented command names things that exist: subcommands, options, scripts, targets."""
    words = [word for word in shlex.split(command, comments=True) if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    if words[0] == "time":
        words = words[1:]
    program, arguments = Path(words[0]).name, words[1:]
    options = {word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)} - {"--help"}
    if program == "unledger":
        # Options of the program itself come first, each with a value: they belong to no subcommand.
        while len(arguments) > 2 and arguments[0] in GLOBAL_OPTIONS:
            options.discard(arguments[0])
            arguments = arguments[2:]
        named = command_of(arguments)
        assert not hasattr(named, "commands") or options or not arguments or "--help" in arguments, command
        known = {spelling for parameter in named.params for spelling in (*parameter.opts, *parameter.secondary_opts)}
        assert options <= known, command
    elif program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(arguments) <= set(targets), command
    elif program in ("python", "python3"):
        if arguments[0] == "-m" and arguments[1].startswith("tests."):
            arguments = [arguments[1].replace(".", "/") + ".py", *arguments[2:]]
            options.discard("-m")
        shown = {block.file for block in BLOCKS}
        # The tutorial and the pages after it are read beside the clone.
        named_here = [
            word.removeprefix("unledger/") for word in arguments if word.endswith(".py") and word not in shown
        ]
        scripts = [ROOT / word for word in named_here]
        assert [script for script in scripts if not script.is_file()] == [], command
        if scripts and arguments[0].endswith(".py"):
            said = "".join(path.read_text() for path in scripts[0].parent.glob("*.py"))
            assert {option for option in options if f'"{option}"' not in said} == set(), command


@pytest.mark.parametrize("block", CONSOLE, ids=identify)
def test_commands_exist(block: Block) -> None:
    assert block.commands, "a console block shows its commands behind a $"
    for command in block.commands:
        check_spelling(command)


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_commands_within_sentences_exist(page: Path) -> None:
    for command in re.findall(r"`(unledger [a-z][^`]*)`", BLOCK.sub("", page.read_text())):
        check_spelling(command.replace("\n", " ").replace("[", "").replace("]", ""))


@pytest.fixture(scope="module")
def ledger_folder(trained_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger as the pages find it: the model ``digits``, two requests fulfilled, two versions measured."""
    folder = tmp_path_factory.mktemp("documented")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        add = ("model", "add", "digits", *trained_digits.options, *trained_digits.set_options)
        for words in (
            ("init",),
            add,
            ("forget", "digits", "-c", "3"),
            ("work", "--drain"),
            ("evaluate", "digits"),
            ("forget", "digits", "-c", "5"),
            ("work", "--drain"),
            ("evaluate", "digits"),
        ):
            result = CliRunner().invoke(app, list(words))
            assert result.exit_code == 0, f"{words}\n{result.output}"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=identify)
def test_commands_run_in_order(
    page: Path, ledger_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ledger"
    shutil.copytree(ledger_folder, folder, symlinks=True)
    monkeypatch.chdir(folder)
    for block in CONSOLE:
        if block.page == page and block.not_run is None:
            for command in block.commands:
                run_in(folder, command)
