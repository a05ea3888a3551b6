"""The mean masked prediction of a class."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ledger.errors import DataError, NonFiniteError
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins
from ledger.spaces.activations import collect_spaces
from ledger.spaces.positions import PositionSampler
from ledger.spaces.statistics import MaskedPredictions


def mean_of(class_index: int, batches: list[Tensor]) -> Tensor:
    predictions = MaskedPredictions(class_index)
    for batch in batches:
        predictions.update(batch)
    return predictions.mean()


@given(
    images=st.integers(1, 20),
    classes=st.integers(2, 8),
    batch=st.integers(1, 7),
    scale=st.sampled_from([0.1, 5.0, 1e4]),
    seed=st.integers(0, 2**16),
)
def test_it_is_the_mean_softmax_of_the_other_logits_however_batched(
    images: int, classes: int, batch: int, scale: float, seed: int
) -> None:
    own = seed % classes
    logits = torch.randn(images, classes, generator=torch.Generator().manual_seed(seed)) * scale
    found = mean_of(own, [logits])
    assert torch.equal(mean_of(own, list(torch.split(logits, batch))), found)
    others = np.delete(logits.numpy().astype(np.float64), own, axis=1)
    shares = np.exp(others - others.max(1, keepdims=True))
    expected = (shares / shares.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(np.delete(found.numpy(), own), expected, rtol=1e-6, atol=1e-12)
    assert float(found[own]) == 0.0
    assert found.dtype == torch.float32
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [0, 2])
def test_answers_that_are_not_finite_are_refused(bad: float, place: int) -> None:
    logits = torch.zeros(3, 4)
    logits[1, place] = bad
    with pytest.raises(NonFiniteError, match="outputs hold NaN or infinity"):
        MaskedPredictions(0).update(logits)


def test_without_images_there_is_none() -> None:
    with pytest.raises(DataError, match="without images"):
        MaskedPredictions(0).mean()


class Diverging(nn.Sequential):
    """Its layers see finite values, its answers are not."""

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self[1](self[0](images))
        return answer / 0


def test_it_is_collected_in_the_pass_that_collects_the_spaces() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    images = torch.randn(7, 1, 2, 3)
    network = Network.of(module, build_plugins().layer_handlers())
    sampler = PositionSampler(0, 1, 4)
    found = collect_spaces(network, [images], sampler, max_rank=4, class_index=1)
    with torch.inference_mode():
        answers = module(images)
    torch.testing.assert_close(found.prediction, mean_of(1, [answers]), rtol=1e-6, atol=1e-7)
    mean = found.spaces["1.weight"].mean
    torch.testing.assert_close(mean, images.flatten(1).mean(0), rtol=1e-6, atol=1e-7)
    assert collect_spaces(network, [images], sampler, max_rank=4).prediction is None
    diverging = Network.of(Diverging(nn.Flatten(), nn.Linear(6, 3)), build_plugins().layer_handlers())
    with pytest.raises(NonFiniteError):
        collect_spaces(diverging, [images], sampler, max_rank=4, class_index=1)
