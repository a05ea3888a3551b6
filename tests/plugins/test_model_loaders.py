"""The built-in model loaders: what they build, and how they say that they cannot."""

import sys
from pathlib import Path

import pytest

from ledger.domain.models import Architecture
from ledger.errors import PluginError, UsageError, WeightsError
from ledger.networks.coverage import Treatment
from ledger.networks.opening import build_network
from ledger.plugin_manager import Plugins, build_plugins

SOURCE = """
import torch
from torch import nn

def net(num_classes, width=4):
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.Flatten(), nn.Linear(width * 36, num_classes))

def fixed():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

def wrong():
    return "not a network"

class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 64))
        self.unused = nn.Linear(64, 64)

    def forward(self, images):
        return images.flatten(1) @ self.weight.T

def bare():
    return Bare()
"""


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return build_plugins()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "my_networks.py"
    path.write_text(SOURCE)
    return path


def test_timm_builds_with_its_own_preprocessing(plugins: Plugins) -> None:
    loaded = plugins.load_model("timm/test_resnet", {"in_chans": 1}, 7)
    assert loaded.module.get_classifier().out_features == 7  # type: ignore[operator]
    assert loaded.preprocessing is not None
    assert (loaded.preprocessing.channels, loaded.preprocessing.height) == (1, 160)


def test_timm_names_neighbours_of_a_misspelt_architecture(plugins: Plugins) -> None:
    with pytest.raises(UsageError, match="resnet19") as caught:
        plugins.load_model("timm/resnet19", {}, 2)
    assert "resnet" in caught.value.hint
    with pytest.raises(UsageError, match="cannot build"):
        plugins.load_model("timm/test_resnet", {"no_such_option": 1}, 2)


def test_a_factory_in_a_file(plugins: Plugins, source: Path) -> None:
    network = build_network(plugins, Architecture(f"{source}:net", {"width": 6}), 5)
    assert [m.key for m in network.maps] == ["0.weight", "2.weight"]
    assert network.maps[1].width == 6 * 36
    assert len(network.code_digest) == 64


def test_a_factory_on_the_path(plugins: Plugins, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(source.parent)
    try:
        loaded = plugins.load_model("my_networks:fixed", {}, 3)
    finally:
        sys.modules.pop("my_networks", None)
    assert loaded.preprocessing is None


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("{file}:absent", UsageError, "no callable"),
        ("{file}:wrong", PluginError, "not a torch module"),
        ("{folder}/nowhere.py:net", UsageError, "no file"),
        ("no_such_package.net:build", UsageError, "cannot import"),
        ("neither", UsageError, "no plugin builds"),
    ],
)
def test_what_cannot_be_built_says_why(
    plugins: Plugins, source: Path, spec: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        plugins.load_model(spec.format(file=source, folder=source.parent), {}, 3)


def test_wrong_options_of_a_factory(plugins: Plugins, source: Path) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        plugins.load_model(f"{source}:net", {"depth": 3}, 3)


def test_coverage_names_bare_weights_and_layers_never_called(plugins: Plugins, source: Path) -> None:
    import torch

    network = build_network(plugins, Architecture(f"{source}:bare", {}), 3)
    found = {p.name: p for p in network.observed(torch.zeros(1, 1, 8, 8)).coverage}
    assert found["weight"].treatment is Treatment.UNHANDLED
    assert found["unused.weight"].treatment is Treatment.UNHANDLED
    assert "never reaches its layer" in found["unused.weight"].detail
    assert found["unused.bias"].treatment is Treatment.UNTOUCHED


def test_weights_must_fit_exactly(plugins: Plugins, source: Path) -> None:
    import torch

    network = build_network(plugins, Architecture(f"{source}:fixed", {}), 3)
    state = network.state()
    with pytest.raises(WeightsError, match=r"lacks 1\.bias"):
        network.load({"1.weight": state["1.weight"]}, "file")
    with pytest.raises(WeightsError, match="unknown more"):
        network.load(state | {"more": torch.zeros(1)}, "file")
    with pytest.raises(WeightsError, match=r"1.weight is \(4, 64\)"):
        network.load(state | {"1.weight": torch.zeros(4, 64)}, "file")
