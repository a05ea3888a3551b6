"""Tensors lie where a processor is fastest, and nothing else about a network changes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ledger.networks.inference import logits
from ledger.networks.layouts import FEWEST_CHANNELS, LARGEST_MAP
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins

HANDLERS = build_plugins().layer_handlers()
CPU = torch.device("cpu")


def conv(channels: int = FEWEST_CHANNELS, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    torch.manual_seed(channels)
    return nn.Conv2d(channels, 8 * groups, kernel, padding=kernel // 2, stride=stride, groups=groups)


def network_of(layer: nn.Module) -> Network:
    torch.manual_seed(3)
    body = nn.Sequential(layer, nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.LazyLinear(3))
    body(images_for(layer))
    return Network.of(body, HANDLERS)


def images_for(layer: nn.Module, width: int = LARGEST_MAP) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    return torch.randn(2, layer.in_channels, width, width, generator=torch.Generator().manual_seed(5))


def lies_last(tensor: Tensor) -> bool:
    """Whether channels lie last, and only they."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """Collect what every convolution computes with: its input, and its weight."""
    seen: list[tuple[Tensor, Tensor]] = []
    real = nn.Conv2d._conv_forward

    def watch(self: nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        seen.append((images, weight))
        output: Tensor = real(self, images, weight, bias)
        return output

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", watch)
    return seen


@pytest.mark.parametrize(
    ("layer", "width", "plain"),
    [
        (conv(), LARGEST_MAP, True),
        (conv(), 2, True),
        (conv(stride=2), 2 * LARGEST_MAP, True),
        (conv(), LARGEST_MAP + 1, False),
        (conv(stride=2), 2 * LARGEST_MAP + 1, False),
        (conv(FEWEST_CHANNELS - 1), LARGEST_MAP, False),
        (conv(2 * FEWEST_CHANNELS, groups=2), LARGEST_MAP, True),
        (conv(FEWEST_CHANNELS, groups=2), LARGEST_MAP, False),
        (conv(kernel=1), LARGEST_MAP, False),
    ],
)
def test_only_many_channels_on_a_tiny_map_are_computed_plain(
    layer: nn.Conv2d, width: int, *, plain: bool, watched: list[tuple[Tensor, Tensor]]
) -> None:
    network = network_of(layer)
    images = images_for(layer, width)
    before = network.module(images)
    network.move(CPU)
    watched.clear()
    outputs: list[Tensor] = []
    layer.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    after = network.module(network.prepare_images(images))
    [(given, weight)] = watched
    assert lies_last(given) is not plain
    assert given.is_contiguous() is plain
    if plain:
        assert weight.is_contiguous()
    [output] = outputs
    assert lies_last(output)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_weights_given_later_lie_as_the_networks_own() -> None:
    network = network_of(nn.Sequential(conv(), conv(8, 3))[0])
    network.move(CPU)
    state = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in network.state().items()}
    state["0.weight"] = state["0.weight"].contiguous(memory_format=torch.channels_last)
    held, prepared = network.module.state_dict(), network.prepare_weights(state)
    assert {n: t.stride() for n, t in prepared.items()} == {n: t.stride() for n, t in held.items()}
    assert prepared["0.weight"].is_contiguous()


def test_a_thin_convolution_keeps_its_weight_channels_last() -> None:
    network = network_of(conv(8))
    network.move(CPU)
    assert lies_last(network.module.state_dict()["0.weight"])
    assert lies_last(network.prepare_weights(network.state())["0.weight"])


def test_moving_again_hooks_no_layer_twice() -> None:
    layer = conv()
    network = network_of(layer)
    network.move(CPU)
    once = len(layer._forward_pre_hooks), len(layer._forward_hooks)
    network.move(CPU)
    assert (len(layer._forward_pre_hooks), len(layer._forward_hooks)) == once == (1, 1)


def test_a_network_that_was_never_moved_is_left_alone() -> None:
    layer = conv()
    network = network_of(layer)
    network.prepare_weights(network.state())
    assert layer.weight.is_contiguous()
    assert not layer._forward_hooks


def test_a_parametrized_convolution_is_left_alone() -> None:
    layer = weight_norm(conv())
    images = images_for(layer)
    network = network_of(layer)
    before = network.module(images)
    network.move(CPU)
    assert not layer._forward_hooks
    torch.testing.assert_close(network.module(network.prepare_images(images)), before, rtol=1e-4, atol=1e-5)


def test_one_image_without_a_batch_and_a_named_argument_pass_through() -> None:
    layer = conv()
    network = network_of(layer)
    network.move(CPU)
    [image] = images_for(layer)[:1]
    torch.testing.assert_close(layer(image), layer(image.unsqueeze(0))[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer(input=image.unsqueeze(0)), layer(image.unsqueeze(0)), rtol=1e-4, atol=1e-5)


def test_a_network_with_a_tensor_of_five_dimensions_moves() -> None:
    class Volumes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv3d(1, 2, 3, padding=1), nn.Linear(2, 3)

        def forward(self, images: Tensor) -> Tensor:
            answer: Tensor = self.fc(self.conv(images.unsqueeze(1)).mean((2, 3, 4)))
            return answer

    network = Network.of(Volumes(), HANDLERS)
    images = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    before = network.module(images)
    network.move(CPU)
    torch.testing.assert_close(network.module(network.prepare_images(images)), before, rtol=1e-4, atol=1e-6)


def test_coverage_and_answers_are_those_of_the_network_as_it_came() -> None:
    layer = conv()
    network = network_of(layer)
    images = images_for(layer)
    before, answer = network.observed(images[:1]).coverage, logits(network, network.state(), [images])
    network.move(CPU)
    assert network.observed(images[:1]).coverage == before
    torch.testing.assert_close(logits(network, network.state(), [images]), answer, rtol=1e-4, atol=1e-5)
