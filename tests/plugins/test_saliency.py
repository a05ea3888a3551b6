"""Heat maps beside integrated gradients worked out by hand, and what happens where captum is missing."""

import sys

import numpy as np
import pytest
import torch
from ledger.plugins.evaluators.saliency import MOST_IMAGES, SaliencyEvaluator, heat_maps
from torch import nn

from ledger.errors import PluginError
from ledger.hookspecs import NetworkRole
from tests.fixtures.small_networks import blobs, examination, fitted, perceptron

FORGOTTEN = frozenset({2})


def test_maps_of_a_linear_network_are_pixel_times_weight() -> None:
    pytest.importorskip("captum")
    linear = nn.Linear(2 * 4 * 4, 3)
    images = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 1, 2, 2, 0])
    # The gradient is the weight all the way, so its integral times the difference to zeros is their product.
    weights = linear.weight.detach()[classes].reshape(5, 2, 4, 4)
    expected = (images * weights).sum(1).abs()
    expected /= expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(heat_maps(nn.Sequential(nn.Flatten(), linear), images, classes), expected)


def test_large_images_are_shown_in_few_fields_and_a_dead_output_in_none() -> None:
    pytest.importorskip("captum")
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        module.get_parameter("2.weight").copy_(torch.tensor([[1.0], [0.0]]))
    images = torch.zeros(2, 1, 40, 64)
    images[:, :, :20, :32] = 3.0
    maps = heat_maps(module, images, torch.tensor([0, 1]))
    assert maps.shape == (2, 16, 16)
    assert maps[0, :8, :8].min() == pytest.approx(1.0)
    assert maps[0, 8:].max() == maps[0, :, 8:].max() == maps[1].max() == 0.0


def test_pictures_are_of_forgotten_images_before_and_after() -> None:
    pytest.importorskip("captum")
    images = blobs(3, 40, 12, signal=1.5)
    original = fitted(perceptron(0), images.train, images.train_labels)
    hidden = fitted(perceptron(0), images.train, images.train_labels)
    with torch.no_grad():
        hidden.get_parameter("head.weight")[2] = 0.0
        hidden.get_parameter("head.bias")[2] = -50.0
    data = examination(images, {NetworkRole.VERSION: hidden, NetworkRole.ORIGINAL: original}, FORGOTTEN)
    state = torch.random.get_rng_state()
    metrics = SaliencyEvaluator().evaluate(data)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(metrics["pictures"]) == MOST_IMAGES
    for picture in metrics["pictures"]:
        assert picture["class"] == data.test.labels[picture["position"]] == 2
        before, after = (picture[name] for name in ("original", "version"))
        assert np.max(before["map"]) == 1.0
        assert np.max(after["map"]) == 0.0, "nothing in the image speaks for a class whose row is empty"
        assert before["probability"] > 0.5 > after["probability"]
        assert "retrained" not in picture
    assert SaliencyEvaluator().evaluate(data) == metrics
    none = examination(images, dict.fromkeys((NetworkRole.VERSION, NetworkRole.ORIGINAL), original), frozenset())
    assert SaliencyEvaluator().evaluate(none)["pictures"] == []


def test_without_captum_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in this table makes an import fail as if the package were not there.
    for name in ("captum", "captum.attr"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PluginError) as caught:
        heat_maps(nn.Flatten(), torch.zeros(1, 1, 2, 2), torch.tensor([0]))
    assert "captum" in caught.value.message
    assert "pip install 'unledger[saliency]'" in caught.value.message
