"""Every ``test_*`` architecture of timm, and small ones of torchvision's own attention: all of it is covered, rows are
read, and nothing of it changes."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vision_transformer import VisionTransformer

from ledger.algebra.grouped import GroupedSpace
from ledger.algebra.spaces import Space
from ledger.digest import json_digest
from ledger.errors import LedgerError
from ledger.networks.coverage import Treatment
from ledger.networks.map_weights import Edit, MapWeights
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins
from ledger.spaces.activations import collect_spaces
from ledger.spaces.positions import PositionSampler

HANDLERS = build_plugins().layer_handlers()
SWIN: dict[str, Any] = {"patch_size": [2, 2], "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2]}
TORCHVISION: dict[str, Callable[[], nn.Module]] = {
    "torchvision swin": lambda: SwinTransformer(**SWIN, window_size=[3, 3], num_classes=5),
    "torchvision swin_v2": lambda: SwinTransformer(
        **SWIN, window_size=[4, 4], num_classes=5, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2
    ),
    "torchvision vit": lambda: VisionTransformer(16, 4, 2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5),
}
ARCHITECTURES = [*timm.list_models("test_*"), *TORCHVISION]
SOME = 9
"""Layers of an architecture that are looked at one by one, from the first to the last."""
UNHANDLED: dict[str, tuple[str, ...]] = {}
"""Architectures with weights that nobody edits, by name; docs/plugins.md gives the reasons."""


def build(arch: str) -> tuple[nn.Module, Tensor]:
    """Return the network and two images of the smallest size that it takes."""
    torch.manual_seed(0)
    if arch in TORCHVISION:
        return TORCHVISION[arch](), torch.randn(2, 3, 16, 16)
    module = timm.create_model(arch, num_classes=5)
    config: Any = module.pretrained_cfg
    size = config["input_size"][1:]
    if not config["fixed_input_size"]:
        size = (64, 64)
    return module, torch.randn(2, 3, *size)


def digest(module: nn.Module) -> str:
    state = {
        name: hashlib.sha256(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
        for name, tensor in module.state_dict().items()
    }
    return json_digest(state)


def test_there_are_architectures() -> None:
    assert len(ARCHITECTURES) >= 15
    assert set(ARCHITECTURES).issuperset(UNHANDLED)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_weight_is_covered_and_nothing_changes(arch: str) -> None:
    module, images = build(arch)
    module.train()
    registered = digest(module)
    network = Network.of(module, HANDLERS)
    coverage = network.observed(images[:1]).coverage
    assert [c.name for c in coverage] == [name for name, _ in module.named_parameters(remove_duplicate=False)]
    assert tuple(c.name for c in coverage if c.treatment is Treatment.UNHANDLED) == UNHANDLED.get(arch, ())
    large = [c for c in coverage if c.treatment is Treatment.UNTOUCHED and len(c.shape) > 1]
    assert not [c for c in large if "scale" in c.detail and torch.Size(c.shape).numel() > max(c.shape)]
    network = network.observed(images[:1])

    module.train()
    flags = [part.training for part in module.modules()]
    spaces = collect_spaces(network, [images], PositionSampler(0, 0, 2), max_rank=4, class_index=0).spaces
    assert spaces.keys() == {group.key for group in network.map_groups}
    assert all(space.rows > 0 for space in spaces.values())
    with pytest.raises(LedgerError, match="NaN or infinity"):
        collect_spaces(network, [images * torch.inf], PositionSampler(0, 0, 2), max_rank=4)
    assert [part.training for part in module.modules()] == flags
    assert not [m for m in module.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert digest(module) == registered


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_weights_written_back_unedited_answer_as_before(arch: str) -> None:
    module, images = build(arch)
    network = Network.of(module, HANDLERS).observed(images[:1])
    state = {name: tensor.clone() for name, tensor in network.state().items()}
    weights = MapWeights(state, state)
    edit = Edit(weights)
    for m in network.maps:
        edit.put(m, weights.of(m))
    with torch.inference_mode():
        before = network.module(images)
        network.load(edit.state(), "the same weights")
        torch.testing.assert_close(network.module(images), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_without_what_its_rows_span_a_layer_answers_as_it_does_without_weights(arch: str) -> None:
    """Had a layer been read with other padding, order or values, something would be left of its answer."""
    module, images = build(arch)
    network = Network.of(module, HANDLERS).observed(images[:1])
    image = network.prepare_images(images[:1])
    bases = spans(network, collect_spaces(network, [image], PositionSampler(0, 0, 10**6), max_rank=10**6).spaces)
    weights = MapWeights(network.state(), network.state())
    narrow = 0
    for layer in network.layers[:: max(1, len(network.layers) // SOME)]:
        without_rows, without_weights = Edit(weights), Edit(weights)
        for m in layer.maps:
            spanned = bases[m.key]
            narrow += spanned.shape[1] < m.width
            without_rows.put(m, weights.of(m) - weights.of(m) @ spanned @ spanned.T)
            without_weights.put(m, torch.zeros(m.stop - m.start, m.width))
        untouched, left, nothing = (
            answer(network, layer.module, state, image)
            for state in (network.state(), without_rows.state(), without_weights.state())
        )
        # In proportion to what the layer answers with its weights: all of that must go.
        scale = float((untouched - nothing).abs().max())
        assert float((left - nothing).abs().max()) <= 1e-4 * scale, layer.name
    assert narrow, "every map's rows spanned everything, so nothing was put to the test"


def spans(network: Network, spaces: dict[str, Space | GroupedSpace]) -> dict[str, Tensor]:
    """Return orthonormal columns (i, r) that span every map's rows, by the map's key; none where all are zero."""
    each: dict[str, Tensor] = {}
    for group in network.map_groups:
        space = spaces[group.key]
        if isinstance(space, GroupedSpace):
            found = torch.linalg.eigh(space.moments())
            # Kept in single precision: what is called nothing here is less than its rounding.
            kept = 1e-9 * found.eigenvalues[:, -1:] < found.eigenvalues
            each |= {m.key: found.eigenvectors[g][:, kept[g]].float() for g, m in enumerate(group.maps)}
        else:
            basis = torch.linalg.svd(space.factor.double(), full_matrices=False)
            # Where activations are all dead there is nothing to span.
            each[group.key] = basis.U[:, 1e-6 * basis.S[:1] < basis.S].float()
    return each


def answer(network: Network, layer: nn.Module, state: dict[str, Tensor], image: Tensor) -> Tensor:
    """Return what one layer answers in a pass under other weights."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        kept.append((output[0] if isinstance(output, tuple) else output).clone())

    hook = layer.register_forward_hook(keep)
    try:
        with torch.inference_mode():
            torch.func.functional_call(network.module, network.prepare_weights(state), (image,))
    finally:
        hook.remove()
    return kept[0]
