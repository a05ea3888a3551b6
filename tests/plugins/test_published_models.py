"""Networks by name: what a repository of the hub says, what torchvision builds, and which weights fit which network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from ledger.plugins.models import architecture_index
from timm.models import save_for_hf
from torchvision.transforms.functional import InterpolationMode

from ledger.domain.settings import CropMode
from ledger.errors import LedgerError, NotFoundError, UsageError
from ledger.plugin_manager import Plugins, build_plugins

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return build_plugins()


COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of huggingface_hub with one repository, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--me--pets"
    snapshot = repository / "snapshots" / COMMIT
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    save_for_hf(module, str(snapshot), model_config={"label_names": ["a", "b", "c"]}, safe_serialization=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_a_repository_is_read_from_the_cache(plugins: Plugins, hub: Path) -> None:
    for name in ("me/pets", "me/pets@main", f"me/pets@{COMMIT}"):
        found = plugins.published_model(f"hf-hub:{name}")
        assert found is not None
        assert found.architecture == "timm/test_resnet"
        assert found.options["in_chans"] == 1
        assert "num_classes" not in found.options
        assert found.weights == hub / "model.safetensors"
        assert COMMIT[:12] in found.origin
        module = plugins.load_model(found.architecture, found.options, 3).module
        module.load_state_dict(safetensors.torch.load_file(found.weights))


def test_what_is_not_in_the_cache_is_named_with_the_way_on(plugins: Plugins, hub: Path) -> None:
    for name in ("me/other", "me/pets@v2"):
        with pytest.raises(LedgerError, match="cannot be reached from here") as caught:
            plugins.published_model(f"hf-hub:{name}")
        assert "hf download" in caught.value.hint
        assert caught.value.exit_code == 1
    with pytest.raises(UsageError, match="not the name of a repository"):
        plugins.published_model("hf-hub:a/b/c")
    (hub / "model.safetensors").unlink()
    with pytest.raises(LedgerError, match=r"model\.safetensors of me/pets is not in the cache"):
        plugins.published_model("hf-hub:me/pets")


def test_other_specifications_are_not_published(plugins: Plugins, tmp_path: Path) -> None:
    assert plugins.published_model("timm/resnet18") is None
    with pytest.raises(NotFoundError, match="there is no folder"):
        plugins.published_model(f"local-dir:{tmp_path / 'none'}")
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    found = plugins.published_model(f"local-dir:{tmp_path}")
    assert found is not None
    assert found.weights is None
    assert "has no model.safetensors" in found.without_weights
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(UsageError, match="names no architecture"):
        plugins.published_model(f"local-dir:{tmp_path}")


# -- torchvision --------------------------------------------------------------------------------------


def test_networks_of_torchvision_expect_what_their_weights_do(plugins: Plugins) -> None:
    found = plugins.load_model("torchvision/shufflenet_v2_x0_5", {}, 7)
    assert sum(p.numel() for p in found.module.parameters()) > 300_000
    assert found.module(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    expected = found.preprocessing
    assert expected is not None
    preset = torchvision.models.get_model_weights("shufflenet_v2_x0_5").DEFAULT.transforms()
    assert (expected.height, expected.mean, expected.std) == (
        preset.crop_size[0],
        tuple(preset.mean),
        tuple(preset.std),
    )
    assert InterpolationMode(expected.interpolation) is preset.interpolation
    assert int(expected.height / expected.crop_fraction) == preset.resize_size[0]
    assert expected.crop_mode is CropMode.CENTER


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("resnet19", {}, "no classifier called 'resnet19'"),
        ("fcn_resnet50", {}, "no classifier called"),
        ("resnet18", {"weights": "DEFAULT"}, "--arch-option weights=DEFAULT is not possible"),
        ("resnet18", {"num_classes": 5}, "--arch-option num_classes=5 is not possible"),
        ("resnet18", {"depth": 5}, "torchvision cannot build resnet18"),
    ],
)
def test_what_torchvision_cannot_build_is_refused(
    plugins: Plugins, name: str, options: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        plugins.load_model(f"torchvision/{name}", options, 3)


# -- weights without a name ---------------------------------------------------------------------------


def _shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "classes", "options"),
    [("test_resnet", 3, {}), ("test_vit", 12, {"img_size": 32}), ("test_efficientnet", 1000, {"in_chans": 1})],
)
def test_weights_are_recognised_by_names_and_shapes(
    plugins: Plugins, name: str, classes: int, options: dict[str, Any]
) -> None:
    module = timm.create_model(name, num_classes=classes, **options)
    found = {one.spec: one for one in plugins.recognise(_shapes(module))}
    assert found[f"timm/{name}"].classes == classes
    assert dict(found[f"timm/{name}"].options) == options
    # What is named fits: one more or less, and nothing is.
    shapes = _shapes(module)
    shapes.popitem()
    assert plugins.recognise(shapes) == ()
    assert plugins.recognise({"1.weight": (5, 25)}) == ()


def test_a_fingerprint_leaves_out_classes_channels_and_the_size_of_images() -> None:
    base = {"conv.weight": (8, 3, 3, 3), "pos_embed": (1, 17, 8), "head.weight": (10, 8), "bn.num_batches_tracked": ()}
    same = {"conv.weight": (8, 1, 3, 3), "pos_embed": (1, 5, 8), "head.weight": (3, 8)}
    assert architecture_index.fingerprint(base) == architecture_index.fingerprint(same)
    for other in ({"conv.weight": (8, 3, 5, 5)}, {"more": (1,)}):
        assert architecture_index.fingerprint({**base, **other}) != architecture_index.fingerprint(base)


# -- adapters -----------------------------------------------------------------------------------------
