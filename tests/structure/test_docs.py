"""The documents say what is true: README's commands run, every hook and state is described."""

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import hookspecs
from ledger.demo_training import train_classifier
from ledger.domain.states import Action, RequestState

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def readme_commands() -> list[str]:
    """Return the commands of README's console block, without the prompt."""
    block = re.search(r"```console\n(.*?)```", README, re.DOTALL)
    assert block is not None
    return [line.removeprefix("$ ") for line in block[1].splitlines() if line.startswith("$ ")]


@pytest.mark.slow
def test_readme_commands_run_in_order(tmp_path: Path) -> None:
    import torch

    from ledger import checkpoints
    from ledger.domain.settings import Preprocessing
    from ledger.plugin_manager import build_plugins

    plugins = build_plugins()
    torch.manual_seed(0)
    module = plugins.load_model("timm/test_resnet", {"in_chans": 1}, 10).module
    source = plugins.data_source("digits")
    accuracy = train_classifier(module, source, Preprocessing(1, 64, 64, (0.3,), (0.35,)), seed=0, epochs=8)
    assert accuracy > 0.95
    (tmp_path / "digits.safetensors").write_bytes(checkpoints.serialise(module.state_dict()))
    commands = readme_commands()
    assert len(commands) > 15
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "unledger"
        result = subprocess.run(
            [sys.executable, "-m", "ledger.cli", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
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
