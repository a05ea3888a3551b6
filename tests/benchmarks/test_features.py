"""Features, class means and distances of predictions, against values worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def features(script: Callable[[str], Any]) -> Any:
    return script("features")


def network(module: nn.Module) -> Network:
    plain = Network.of(module, build_plugins().layer_handlers())
    return plain.observed(torch.zeros(1, 1, 4, 4))


class Around(nn.Module):
    """Computes with its classifier's weight, without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 3)
        self.last = nn.Linear(3, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.first(images.flatten(1))
        return hidden @ self.last.weight.T


def test_a_mean_prediction_leaves_the_forgotten_out_image_by_image(features: Any) -> None:
    """Renormalised after the mean instead, the second image would hardly count: the answer would be (0.9, 0, 0.1)."""
    answers = torch.log(torch.tensor([[0.9, 0.1, 1e-9], [1e-9, 0.9, 0.1]]))
    found = features.mean_prediction(answers, [1])
    torch.testing.assert_close(found, torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64), rtol=0, atol=1e-6)
    assert float(answers[0, 1].exp()) == pytest.approx(0.1)


def test_total_variation_is_half_of_what_differs(features: Any) -> None:
    one, other = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.25, 0.5])
    assert features.total_variation(one, other) == 0.5
    assert features.total_variation(one, one) == 0.0
    assert features.total_variation(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])) == 1.0


def test_a_spread_is_the_largest_difference(features: Any) -> None:
    assert features.widest([0.2, 0.7, 0.4]) == pytest.approx(0.5)
    assert features.widest([0.2]) == 0.0


def test_positions_are_averaged_and_channels_are_not(features: Any) -> None:
    maps = torch.arange(12.0).reshape(1, 2, 2, 3)
    assert features.pooled(maps, channels_last=False).tolist() == [[2.5, 8.5]]
    assert features.pooled(maps, channels_last=True).tolist() == [[4.5, 5.5, 6.5]]
    assert features.pooled(torch.ones(2, 5), channels_last=True).shape == (2, 5)


def test_a_look_notes_what_flows_into_the_middle_and_the_last_layer(features: Any) -> None:
    """Four layers, so that the middle is what flows into the third; later layers work in place."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 3, 2),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 4, 2),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, 2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(5, 2),
    )
    subject = network(module)
    other = {name: tensor + 0.1 for name, tensor in subject.state().items()}
    before = {name: tensor.clone() for name, tensor in subject.state().items()}
    images = torch.randn(6, 1, 4, 4)
    seen = features.look(subject, other, torch.split(images, 4))
    module.load_state_dict(other)
    with torch.inference_mode():
        middle, last = module[:5](images).clone(), module[:8](images).clone()
        answers = module(images)
    torch.testing.assert_close(torch.from_numpy(seen.middle), middle.mean((2, 3)))
    torch.testing.assert_close(torch.from_numpy(seen.last), last)
    torch.testing.assert_close(seen.logits, answers)
    assert any(not torch.equal(before[name], tensor) for name, tensor in other.items())


def test_a_look_leaves_the_network_as_it_was(features: Any) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Linear(3, 2))
    subject = network(module)
    before = {name: tensor.clone() for name, tensor in subject.state().items()}
    features.look(subject, {name: tensor + 1 for name, tensor in before.items()}, [torch.zeros(1, 1, 4, 4)])
    for name, tensor in subject.state().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert not any(part._forward_pre_hooks for part in module.modules())


def test_a_layer_that_is_gone_around_is_an_error(features: Any) -> None:
    subject = network(Around())
    with pytest.raises(ValueError, match="0 rows flowed into the last layer, for 2 images"):
        features.look(subject, subject.state(), [torch.zeros(2, 1, 4, 4)])
