"""Features are what flows into three layers, averaged over positions, whatever the layer's layout."""

import itertools

import pytest
import timm
import torch
from torch import Tensor, nn

from ledger.evaluator_input import Depth
from ledger.networks.features import FeatureReader, feature_layers
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins

IMAGES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def opened(module: nn.Module, images: Tensor = IMAGES) -> Network:
    return Network.of(module, build_plugins().layer_handlers()).observed(images[:1])


def read(network: Network, batches: list[Tensor]) -> dict[Depth, "Tensor | None"]:
    reader = FeatureReader(feature_layers(network))
    with torch.inference_mode():
        for batch in batches:
            with reader.reading(len(batch)):
                network.module(batch)
    return {depth: None if v is None else torch.from_numpy(v) for depth, v in reader.features().items()}


def test_convolutions_are_read_before_them_and_averaged_over_positions() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    )
    found = read(opened(module), [IMAGES[:3], IMAGES[3:]])
    with torch.inference_mode():
        into = {
            Depth.ONE_THIRD: module[:2](IMAGES).mean((2, 3)),
            Depth.TWO_THIRDS: module[:4](IMAGES).mean((2, 3)),
            Depth.PENULTIMATE: module[:8](IMAGES),
        }
    for depth, wanted in into.items():
        values = found[depth]
        assert values is not None
        torch.testing.assert_close(values, wanted)


def test_tokens_are_averaged_over_positions() -> None:
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=3, embed_dim=24, num_heads=2, num_classes=5
    )
    network = opened(model)
    found = read(network, [IMAGES])
    for depth in Depth:
        values = found[depth]
        assert values is not None
        assert len(values) == len(IMAGES)
    places = feature_layers(network)
    assert places[Depth.PENULTIMATE] is model.head
    seen: list[Tensor] = []
    hook = places[Depth.ONE_THIRD].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    with torch.inference_mode():
        model(IMAGES)
    hook.remove()
    assert seen[0].dim() == 3
    torch.testing.assert_close(found[Depth.ONE_THIRD], seen[0].mean(1))


def test_what_follows_in_place_does_not_change_what_was_read() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3072, 6), nn.Linear(6, 5), nn.ReLU(inplace=True))

    class Spoils(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            answer = super().forward(inputs)
            inputs.zero_()
            return answer

    module[2] = Spoils(6, 5)
    values = read(opened(module), [IMAGES.clone()])[Depth.PENULTIMATE]
    assert values is not None
    assert float(values.abs().min()) > 0


def test_a_layer_that_is_called_twice_tells_nothing() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again, self.last = nn.Linear(3072, 8), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, images: Tensor) -> Tensor:
            answer: Tensor = self.last(self.again(self.again(self.first(images.flatten(1)))))
            return answer

    torch.manual_seed(0)
    found = read(opened(Twice()), [IMAGES])
    assert found[Depth.PENULTIMATE] is not None
    assert any(values is None for values in found.values())


@pytest.mark.parametrize(("layers", "known"), [(1, 1), (2, 1), (3, 2), (4, 3), (9, 3)])
def test_a_shallow_network_has_fewer_depths(layers: int, known: int) -> None:
    torch.manual_seed(0)
    widths = [3072, *[6] * (layers - 1), 5]
    module = nn.Sequential(nn.Flatten(), *(nn.Linear(a, b) for a, b in itertools.pairwise(widths)))
    places = feature_layers(opened(module))
    assert len(places) == known
    assert places[Depth.PENULTIMATE] is module[-1]
    # The image itself is no feature, unless there is nothing else.
    assert layers == 1 or module[1] not in places.values()
