"""A trained network of unusual layers, in half precision, forgets like any other; handlers may come later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy
import pytest
import torch

from ledger import hookspecs
from ledger.algebra.spaces import Space
from ledger.domain.linear_map import LinearMap
from ledger.domain.models import Architecture
from ledger.errors import UnsupportedLayerError
from ledger.networks.coverage import Treatment
from ledger.plugin_manager import PluginInfo, Plugins, build_plugins
from ledger.service.computation.class_space_cache import ClassSpaceCache
from ledger.service.computation.compute import open_unlearning_afresh
from ledger.service.computation.workbench import open_workbench
from ledger.service.models.coverage import coverage
from ledger.service.progress import Silent
from ledger.testing.training import train_classifier
from ledger.weights import tensor_files
from tests.ledgers.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path


UNUSUAL = '''\
"""A digits network with hardly a plain layer in it."""

import torch
from timm.layers.std_conv import ScaledStdConv2d
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class Unusual(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = weight_norm(nn.Conv2d(1, 16, 4, stride=4))
        self.conv = ScaledStdConv2d(16, 32, 3)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.steps = nn.GRU(32, 24, batch_first=True)
        self.mix = nn.Linear(24, 24)
        self.again = nn.Linear(24, 24)
        self.again.weight = self.mix.weight
        self.head = nn.Linear(16 * 24, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(self.stem(images).relu()).relu()
        tokens = nn.functional.max_pool2d(x, 2).flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(query=tokens, key=tokens, value=tokens, need_weights=False)[0]
        states = self.steps(tokens)[0]
        return self.head(self.again(self.mix(states).relu()).relu().flatten(1))


class Own(nn.Linear):
    """A layer that no built-in handler wants."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.relu())


class Partly(nn.Sequential):
    def __init__(self, num_classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(1024, 12), Own(12, num_classes))


def unusual(num_classes: int) -> nn.Module:
    return Unusual(num_classes)


def partly(num_classes: int) -> nn.Module:
    return Partly(num_classes)
'''


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    path = tmp_path / "unusual.py"
    path.write_text(UNUSUAL)
    return path


def weights_of(desk: Desk, number: int, model: str) -> dict[str, Any]:
    bench = open_workbench(desk.ledger, model)
    [version] = [v for v in desk.versions(model) if v.number == number]
    return bench.weights(version)


def test_a_network_of_unusual_layers_forgets(
    desk: Desk, factory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Desk, "open_model", staticmethod(open_unlearning_afresh))
    torch.manual_seed(1)
    plugins = build_plugins()
    module = plugins.load_model(f"{factory}:unusual", {}, 10).module
    known = train_classifier(module, plugins.data_source("digits"), desk.digits.preprocessing, seed=1, epochs=12)
    assert known >= 0.9, "what was never known cannot be forgotten"
    weights = tmp_path / "unusual.safetensors"
    state = {name: tensor.to(torch.bfloat16) for name, tensor in module.state_dict().items()}
    weights.write_bytes(tensor_files.serialise(state))
    desk.register("unusual", architecture=Architecture(f"{factory}:unusual", {}), weights=weights)
    covered = coverage(desk.ledger, "unusual")
    assert not [c.name for c in covered if c.treatment is Treatment.UNHANDLED]
    edited = {c.name for c in covered if c.treatment is Treatment.EDITED}
    assert {"conv.gain", "attention.in_proj_weight", "attention.out_proj.weight", "steps.weight_hh_l0"} <= edited
    assert {"stem.parametrizations.weight.original0", "again.weight"} <= edited

    version = desk.forget(3, model="unusual")
    before, after = weights_of(desk, 0, "unusual"), weights_of(desk, version.number, "unusual")
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed
    assert changed <= edited
    assert torch.equal(after["mix.weight"], after["again.weight"])
    assert (version.recipe.depth or 0) >= 1
    # The same set again, from the other end: the same bytes.
    desk.forget(5, model="unusual")
    desk.withdraw(2)
    assert desk.live("unusual").weights == version.weights


class OwnHandler:
    """Reads the layer that the network above brings along."""

    def __init__(self, module_type: type) -> None:
        self.module_type = module_type

    def linear_maps(self, name: str, module: Any) -> list[LinearMap]:
        return [LinearMap(f"{name}.weight", f"{name}.weight", 0, module.out_features, module.in_features)]

    def input_rows(self, maps: Any, _module: Any, inputs: Any, _sampler: Any) -> dict[str, Any]:
        return {maps[0].key: inputs[0].relu()}


def with_handler(module_type: type) -> Plugins:
    """Return the built-in plugins and one more."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    builtin = build_plugins()
    for name, plugin in builtin._manager.list_name_plugin():
        manager.register(plugin, name=name)

    class Stranger:
        @staticmethod
        @hookspecs.hookimpl
        def unledger_layer_handlers() -> Any:
            return (OwnHandler(module_type),)

    manager.register(Stranger(), name="stranger")
    return Plugins(manager, [*builtin.infos, PluginInfo("stranger", "1", builtin=False, hooks=())])


def test_class_spaces_are_collected_anew_once_there_are_handlers_for_more_layers(
    desk: Desk, factory: Path, tmp_path: Path
) -> None:
    spec = f"{factory}:partly"
    module = build_plugins().load_model(spec, {}, 10).module
    weights = tmp_path / "partly.safetensors"
    weights.write_bytes(tensor_files.serialise(module.state_dict()))
    said: dict[str, Any] = {"architecture": Architecture(spec, {}), "weights": weights}
    with pytest.raises(UnsupportedLayerError, match="Own computes its output in its own way"):
        desk.register("partly", **said)
    desk.register("partly", **said, allow_unhandled=frozenset({"2.weight"}))
    forgotten = frozenset({3})
    first = list(ClassSpaceCache(open_workbench(desk.ledger, "partly")).collect_and_store(forgotten, Silent()))
    assert {m.key for c in first for m in c.record.maps} == {"1.weight"}
    again = ClassSpaceCache(open_workbench(desk.ledger, "partly")).collect_and_store(forgotten, Silent())
    assert [c.record.id for c in again] == [c.record.id for c in first]

    later = desk.open_again()
    bench = open_workbench(later, "partly")
    # A factory's file is imported anew each time: the class is that of the network at hand.
    vars(later)["plugins"] = _ForEachBuild()
    more = list(ClassSpaceCache(bench).collect_and_store(forgotten, Silent()))
    assert {m.key for c in more for m in c.record.maps} == {"1.weight", "2.weight"}
    assert {c.record.id for c in more}.isdisjoint(c.record.id for c in first)
    assert [c.record.id for c in ClassSpaceCache(bench).collect_and_store(forgotten, Silent())] == [
        c.record.id for c in more
    ]
    for old, new in zip(first, more, strict=True):
        now, before = new.spaces["1.weight"], old.spaces["1.weight"]
        assert isinstance(now, Space)
        assert isinstance(before, Space)
        torch.testing.assert_close(now.factor, before.factor, rtol=0, atol=0)


class _ForEachBuild:
    """Plugins whose handler is for the class of the last network built."""

    def __init__(self) -> None:
        self._plugins = build_plugins()

    def load_model(self, *args: Any) -> Any:
        loaded = self._plugins.load_model(*args)
        self._plugins = with_handler(type(loaded.module[2]))  # type: ignore[index]
        return loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plugins, name)
