"""Which installed plugins are loaded, and that none takes the place of another unseen."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from ledger import plugin_manager
from ledger.config import FILE, find_config
from ledger.domain.plugin_policy import PluginPolicy
from ledger.errors import PluginError, UsageError
from ledger.hookspecs import hookimpl
from ledger.plugin_manager import build_plugins, guarded, selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Announce strangers' plugins, as installed packages would: a name, and its hooks."""
    points: list[EntryPoint] = []

    def announce(name: str, **hooks: Callable[..., Any]) -> None:
        module = types.ModuleType(f"plugin_of_{name}")
        vars(module).update({hook: hookimpl(function) for hook, function in hooks.items()})
        monkeypatch.setitem(sys.modules, module.__name__, module)
        points.append(EntryPoint(name, module.__name__, plugin_manager.ENTRY_POINT_GROUP))
        monkeypatch.setattr(plugin_manager, "entry_points", lambda *, group: [p for p in points if p.group == group])

    return announce


def loaded(policy: PluginPolicy) -> list[str]:
    return [info.name for info in build_plugins(policy).infos if not info.builtin]


def named(name: str) -> Callable[[], Any]:
    return lambda: (SimpleNamespace(name=name),)


def test_all_are_loaded_unless_the_ledger_or_the_environment_says_which(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("one", unledger_evaluators=named("first"))
    install("two", unledger_evaluators=named("second"))
    assert loaded(PluginPolicy()) == ["one", "two"]
    assert "all that are installed are loaded" in selection(PluginPolicy())
    assert loaded(PluginPolicy(allow=("two", "absent"))) == ["two"]
    assert "unledger.toml allows two" in selection(PluginPolicy(allow=("two",)))
    assert loaded(PluginPolicy(allow=())) == []
    monkeypatch.setenv("UNLEDGER_PLUGINS", "one")
    assert loaded(PluginPolicy(allow=("two",))) == ["one"]
    assert "UNLEDGER_PLUGINS loads one" in selection(PluginPolicy(allow=("two",)))


OFFERS: dict[str, tuple[dict[str, Callable[..., Any]], Callable[[Any], Any]]] = {
    "evaluator": ({"unledger_evaluators": named("accuracy")}, lambda p: p.evaluators()),
    "solver": ({"unledger_solvers": named("projection")}, lambda p: p.solvers(["projection"])),
    "layer": (
        {"unledger_layer_handlers": lambda: (SimpleNamespace(module_type=nn.Linear),)},
        lambda p: p.layer_handlers(),
    ),
    "data": ({"unledger_data_source": lambda spec: object()}, lambda p: p.data_source("digits")),
    "model": (
        {"unledger_load_model": lambda spec, options, num_classes: object()},
        lambda p: p.load_model("timm/test_resnet", {}, 3),
    ),
}


@pytest.mark.parametrize("kind", OFFERS)
def test_a_plugin_replaces_another_only_where_the_ledger_lets_it(install: Callable[..., None], kind: str) -> None:
    hooks, ask = OFFERS[kind]
    ask(build_plugins())
    install("usurper", **hooks)
    with pytest.raises(PluginError, match=r"plugin usurper offers .* which plugin .* offers as well") as refused:
        ask(build_plugins())
    assert 'replace = ["usurper"]' in refused.value.hint
    ask(build_plugins(PluginPolicy(replace=("usurper",))))
    ask(build_plugins(PluginPolicy(allow=())))


def test_two_strangers_do_not_replace_each_other_either(install: Callable[..., None]) -> None:
    install("one", unledger_evaluators=named("same"))
    install("two", unledger_evaluators=named("same"))
    with pytest.raises(PluginError, match="plugin two offers an evaluator called same, which plugin one offers"):
        build_plugins().evaluators()
    assert build_plugins(PluginPolicy(replace=("two",))).evaluators()["same"][1].name == "two"


def test_what_no_other_plugin_answers_is_answered_by_a_stranger(install: Callable[..., None]) -> None:
    answer: Any = object()
    install(
        "own",
        unledger_data_source=lambda spec: answer if spec == "own:1" else None,
        unledger_load_model=lambda spec, options, num_classes: answer if spec == "own:net" else None,
    )
    plugins = build_plugins()
    assert plugins.data_source("own:1") is answer
    assert plugins.load_model("own:net", {}, 2) is answer
    assert [text.split()[0] for text in plugins.origins("own:net", "own:1")] == ["own"]


def test_a_plugin_with_the_name_of_a_built_in_one_is_left_out(install: Callable[..., None]) -> None:
    install("eval_accuracy", unledger_evaluators=named("other"))
    plugins = build_plugins()
    assert [info.error is None for info in plugins.infos if info.name == "eval_accuracy"] == [True, False]
    assert plugins.evaluators()["accuracy"][1].builtin


@pytest.mark.parametrize("raised", [SystemExit(0), GeneratorExit(), RuntimeError("x")])
def test_a_plugin_that_tries_to_end_the_program_is_named(install: Callable[..., None], raised: BaseException) -> None:
    def leave() -> Any:
        raise raised

    install("leaver", unledger_evaluators=leave)
    with pytest.raises(PluginError, match="plugin leaver in unledger_evaluators failed"):
        build_plugins().evaluators()


def test_a_ledgers_file_sets_the_policy(tmp_path: Path) -> None:
    start = 'database = "sqlite:///ledger.db"\nstore = "objects"\n'
    (tmp_path / FILE).write_text(start)
    assert find_config(tmp_path).plugins == PluginPolicy()
    said = '[plugins]\nallow = ["a"]\nreplace = ["a"]\nevaluator_seconds = 5\n'
    (tmp_path / FILE).write_text(start + said)
    assert find_config(tmp_path).plugins == PluginPolicy(("a",), ("a",), 5)
    for wrong in ("allow = 3", "forbid = []", "evaluator_seconds = 0", "evaluator_seconds = nan", 'replace = "a"'):
        (tmp_path / FILE).write_text(f"{start}[plugins]\n{wrong}\n")
        with pytest.raises(UsageError, match=r"unledger\.toml"):
            find_config(tmp_path)


def test_a_plugin_that_ran_out_of_memory_is_not_at_fault() -> None:
    def hungry() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(torch.OutOfMemoryError):
        guarded(hungry, "a handler")
