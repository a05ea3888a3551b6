"""Networks whose answer is not a function of the image alone are refused, and the layer is named."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from ledger.errors import ImpureNetworkError, NonFiniteError
from ledger.networks.network import Network
from ledger.networks.trial import BATCH, IMAGES, TOLERANCE, require_function_of_image
from ledger.plugin_manager import build_plugins

if TYPE_CHECKING:
    from collections.abc import Callable

HANDLERS = build_plugins().layer_handlers()
SMALL_FAMILIES = ("mobilenetv3_small_050", "edgenext_xx_small", "regnetx_002", "densenet121", "vit_tiny_patch16_224")


class Applying(nn.Module):
    """Applies a function in its own forward."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Counting(nn.Module):
    """Remembers how many images it has seen, and answers with it now and then."""

    def __init__(self, since: int, step: int = 0) -> None:
        super().__init__()
        self.calls = 0
        self.since = since
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + float(self.calls >= self.since) + self.step * self.calls


class Ghost(nn.BatchNorm2d):
    """Batch normalisation that uses the statistics of the batch whatever its mode."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, None, None, self.weight, self.bias, training=True)


class Transposed(nn.Module):
    """Attends over a sequence whose batch comes second, as older transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.flatten(2).permute(2, 0, 1)).permute(1, 2, 0)
        return out.reshape(x.shape)


def network(*middle: nn.Module) -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), *middle, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5)
    )
    return Network.of(module, HANDLERS)


def random_crop(x: Tensor) -> Tensor:
    left = int(torch.randint(0, 3, ()))
    return functional.pad(x, (3, 3, 3, 3))[:, :, left : left + 8, left : left + 8]


def seeded_dropout(x: Tensor) -> Tensor:
    torch.manual_seed(1)
    return functional.dropout(x, 0.3)


IMPURE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "functional dropout": (lambda: Applying(lambda x: functional.dropout(x, 0.1)), r"layer 1 \(Applying\)"),
    "seeded dropout": (lambda: Applying(seeded_dropout), r"layer 1 \(Applying\)"),
    "random crop": (lambda: Applying(random_crop), r"layer 1 \(Applying\)"),
    "python's random": (lambda: Applying(lambda x: x * random.random()), r"layer 1 \(Applying\)"),
    "numpy's random": (lambda: Applying(lambda x: x * np.random.rand()), r"layer 1 \(Applying\)"),  # noqa: NPY002
    "nested": (lambda: nn.Sequential(nn.ReLU(), Applying(functional.dropout)), r"layer 1\.1 \(Applying\)"),
    "no running statistics": (lambda: nn.BatchNorm2d(8, track_running_stats=False), r"layer 1 \(BatchNorm2d\)"),
    "batch statistics": (lambda: Ghost(8), r"layer 1 \(Ghost\)"),
    "batch mean": (lambda: Applying(lambda x: x - x.mean(0, keepdim=True)), r"layer 1 \(Applying\)"),
    "largest of the batch": (lambda: Applying(lambda x: x / x.abs().max()), r"layer 1 \(Applying\)"),
    "sorted batch": (lambda: Applying(lambda x: x.sort(0).values), r"layer 1 \(Applying\)"),
    "order of the batch": (lambda: Applying(lambda x: x * torch.arange(1, len(x) + 1).view(-1, 1, 1, 1)), "layer 1 "),
    "size of the batch": (lambda: Applying(lambda x: x / len(x)), r"layer 1 \(Applying\)"),
    "counter": (lambda: Counting(2, step=1), r"layer 1 \(Counting\)"),
    "once": (lambda: Counting(2), "which layer it is could not be found out"),
}


@pytest.mark.parametrize("kind", IMPURE)
def test_a_network_that_is_not_a_function_of_the_image_is_refused_by_layer(kind: str) -> None:
    make, named = IMPURE[kind]
    # In company of layers that pass the fault on: the first one is named, not the one after.
    tried = network(make(), nn.Conv2d(8, 8, 3, padding=1))
    with pytest.raises(ImpureNetworkError, match=named):
        require_function_of_image(tried, torch.rand(IMAGES, 3, 8, 8))


def test_a_memory_of_other_images_is_found() -> None:
    tried = network(Counting(6))
    with pytest.raises(ImpureNetworkError, match="remembers"):
        require_function_of_image(tried, torch.rand(IMAGES, 3, 8, 8))


def test_a_fault_in_the_networks_own_forward_is_named_so() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(12, 5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.body(functional.dropout(x.flatten(1), 0.5))
            return out

    with pytest.raises(ImpureNetworkError, match=r"its own forward \(Own\)"):
        require_function_of_image(Network.of(Own(), HANDLERS), torch.rand(IMAGES, 3, 2, 2))


@pytest.mark.parametrize("images", [1, 2, 3, IMAGES])
@pytest.mark.parametrize("middle", [nn.BatchNorm2d(8), nn.Dropout(0.5), nn.InstanceNorm2d(8), Transposed()])
def test_layers_that_are_functions_of_the_image_pass(middle: nn.Module, images: int) -> None:
    tried = network(middle)
    before = {name: tensor.clone() for name, tensor in tried.state().items()}
    require_function_of_image(tried, torch.rand(images, 3, 8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in tried.state().items())
    assert not tried.module.training
    hooks: list[Any] = [m._forward_hooks or m._forward_pre_hooks for m in tried.module.modules()]
    assert not any(hooks)


def test_the_random_generator_is_as_before() -> None:
    tried = network(Applying(functional.dropout))
    state = torch.get_rng_state()
    with pytest.raises(ImpureNetworkError):
        require_function_of_image(tried, torch.ones(IMAGES, 3, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)


def test_one_image_is_enough_to_find_batch_statistics() -> None:
    with pytest.raises(ImpureNetworkError, match="BatchNorm2d"):
        require_function_of_image(network(nn.BatchNorm2d(8, track_running_stats=False)), torch.rand(1, 3, 8, 8))


def test_a_network_for_single_images_is_refused() -> None:
    with pytest.raises(ImpureNetworkError, match=f"cannot take {BATCH} images at once"):
        require_function_of_image(network(Applying(lambda x: x.view(1, 8, 8, 8))), torch.rand(IMAGES, 3, 8, 8))
    with pytest.raises(ImpureNetworkError, match="one row of logits"):
        require_function_of_image(network(Applying(lambda x: x[:1])), torch.rand(IMAGES, 3, 8, 8))


def test_not_a_number_for_a_later_image_is_found() -> None:
    images = torch.rand(IMAGES, 3, 8, 8)
    images[2] = 1e38
    with pytest.raises(NonFiniteError):
        require_function_of_image(network(Applying(lambda x: x * 1e10)), images)


@pytest.mark.parametrize("name", [*timm.list_models("test_*"), *SMALL_FAMILIES])
def test_no_family_of_timm_is_refused(name: str) -> None:
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=10)
    config: Any = module.default_cfg
    size = 96 if name in SMALL_FAMILIES and "vit" not in name else config["input_size"][1]
    require_function_of_image(Network.of(module, HANDLERS), torch.rand(IMAGES, 3, size, size))


def test_the_tolerance_lies_far_above_rounding_and_far_below_batch_statistics() -> None:
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=10).eval()
    images = torch.rand(BATCH, 3, 96, 96)
    with torch.inference_mode():
        together, alone = module(images), module(images[:1])
        for part in module.modules():
            part.train(isinstance(part, nn.BatchNorm2d))
        company = module(images)
    largest = float(together.abs().max())
    assert float((alone - together[:1]).abs().max()) < TOLERANCE / 50 * largest
    assert float((company - together).abs().max()) > TOLERANCE * 50 * largest
