"""Matrices come out of every form they are held in, and go back into it, in the precision of the checkpoint."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.std_conv import ScaledStdConv2d, StdConv2d
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from ledger.algebra.strength import Strength
from ledger.candidates.candidate import CandidateBuilder, Recipe
from ledger.networks.coverage import Treatment
from ledger.networks.map_weights import Edit, MapWeights
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins
from ledger.spaces.activations import collect_spaces
from ledger.spaces.positions import PositionSampler

HANDLERS = build_plugins().layer_handlers()
SOLVERS: dict[str, Any] = {
    "projection": import_module("ledger.plugins.solvers.projection").ProjectionSolver(),
    "least-squares": import_module("ledger.plugins.solvers.least_squares").LeastSquaresSolver(),
}


def built(module: nn.Module) -> Network:
    return Network.of(nn.Sequential(module), HANDLERS)


def edited(network: Network, change: Callable[[Tensor], Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights after changing every map's matrix."""
    weights = MapWeights(state, state)
    edit = Edit(weights)
    for m in network.maps:
        edit.put(m, change(weights.of(m)))
    return edit.state()


def halve_a_direction(matrix: Tensor) -> Tensor:
    direction = torch.nn.functional.normalize(torch.arange(1.0, matrix.shape[1] + 1), dim=0)
    return matrix - 0.5 * (matrix @ direction).unsqueeze(1) * direction


def old_weight_norm(module: nn.Module, dim: Any) -> nn.Module:
    return torch.nn.utils.weight_norm(module, dim=dim)


class Doubled(nn.Module):
    """A parametrization of somebody's own, which can be inverted."""

    def forward(self, original: Tensor) -> Tensor:
        return 2 * original

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight / 2


class Squared(nn.Module):
    """One that cannot."""

    def forward(self, original: Tensor) -> Tensor:
        return original.square()


def parametrized(*steps: nn.Module) -> nn.Module:
    layer = nn.Linear(6, 4)
    for step in steps:
        parametrize.register_parametrization(layer, "weight", step, unsafe=True)
    return layer


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: parametrizations.weight_norm(nn.Linear(6, 4)), (3, 6)),
        (lambda: parametrizations.weight_norm(nn.Linear(6, 4), dim=1), (3, 6)),
        (lambda: parametrizations.weight_norm(nn.Conv2d(4, 6, 3, groups=2)), (2, 4, 5, 5)),
        (lambda: old_weight_norm(nn.Linear(6, 4), 0), (3, 6)),
        (lambda: old_weight_norm(nn.Linear(6, 4), None), (3, 6)),
        (lambda: old_weight_norm(nn.Conv1d(4, 6, 3), 0), (2, 4, 5)),
        (lambda: parametrized(Doubled()), (3, 6)),
        (lambda: parametrized(Doubled(), Doubled()), (3, 6)),
    ],
)
def test_a_parametrized_weight_is_edited_through_its_originals(build: Any, shape: tuple[int, ...]) -> None:
    network, inputs = built(build()), torch.randn(shape)
    layer: Any = network.module.get_submodule("0")
    plain: Any = type(layer).__mro__[1] if parametrize.is_parametrized(layer) else type(layer)
    treatments = {c.name: c.treatment for c in network.observed(inputs).coverage}
    assert Treatment.UNHANDLED not in treatments.values()
    with torch.no_grad():
        layer(inputs)
        weight = layer.weight.clone()
        bias_alone = plain.forward(layer, torch.zeros_like(inputs))
        before = network.module(inputs) - bias_alone
    state = edited(network, halve_a_direction, network.state())
    assert {m.key for m in network.maps} <= {"0.weight", "0.weight[0]", "0.weight[1]"}
    network.load(state, "the edit")
    with torch.no_grad():
        after = network.module(inputs) - bias_alone
        torch.testing.assert_close(layer.weight, halve_a_direction(weight.flatten(1)).view_as(weight))
    assert not torch.allclose(before, after)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: parametrizations.spectral_norm(nn.Linear(6, 4)), "cannot hold an edited weight"),
        (lambda: parametrizations.orthogonal(nn.Linear(6, 6)), "parametrization cannot"),
        (lambda: parametrized(Squared()), "cannot take an edited weight"),
        (lambda: torch.nn.utils.spectral_norm(nn.Linear(6, 4)), "is no parameter"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*is deprecated:FutureWarning")
def test_a_parametrization_that_cannot_hold_an_edit_is_unhandled(build: Any, reason: str) -> None:
    network = built(build())
    assert network.maps == ()
    found = [c for c in network.observed(torch.randn(2, 6)).coverage if c.treatment is Treatment.UNHANDLED]
    assert len(found) == 1
    assert reason in found[0].detail


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Linear(6, 4),
        lambda: nn.Conv2d(4, 4, 3, groups=2),
        lambda: nn.ConvTranspose2d(4, 4, 2, groups=2),
        lambda: ScaledStdConv2d(4, 4, 3),
        lambda: parametrizations.weight_norm(nn.Linear(6, 4)),
        lambda: nn.LSTM(4, 3),
    ],
)
def test_low_precision_is_edited_in_float32_and_written_back(build: Any, dtype: torch.dtype) -> None:
    network = built(build())
    state = {name: tensor.to(dtype) for name, tensor in network.state().items()}
    weights = MapWeights(state, state)
    wanted = {m.key: halve_a_direction(weights.of(m)) for m in network.maps}
    assert {matrix.dtype for matrix in wanted.values()} == {torch.float32}
    after = edited(network, halve_a_direction, state)
    assert {tensor.dtype for tensor in after.values()} == {dtype}
    written = MapWeights(after, after)
    for m in network.maps:
        expected = wanted[m.key]
        if isinstance(network.module.get_submodule("0"), ScaledStdConv2d):
            expected = expected - expected.mean(1, keepdim=True)
        # Each number was rounded once, where it is held.
        error = torch.linalg.norm(written.of(m) - expected) / torch.linalg.norm(expected)
        assert float(error) < 2 * torch.finfo(dtype).eps


def test_untouched_tensors_are_shared_and_the_base_never_changes() -> None:
    network = built(nn.Sequential(nn.Conv2d(4, 4, 3), ScaledStdConv2d(4, 4, 3)))
    base = network.state()
    before = {name: tensor.clone() for name, tensor in base.items()}
    after = edited(network, halve_a_direction, base)
    torch.testing.assert_close(base, before, rtol=0, atol=0)
    changed = {name for name in base if after[name] is not base[name]}
    assert changed == {"0.0.weight", "0.1.weight", "0.1.gain"}


# -- weight standardisation: what holds, and what does not (docs/adr/0010) ------------------------------


def rows_of(layer: Any) -> Any:
    """Return what a standardising layer convolves with, from its answer to unit images."""
    width = layer.weight[0].numel()
    units = torch.eye(width).view(width, *layer.weight.shape[1:])
    with torch.no_grad():
        bias = 0 if layer.bias is None else layer.bias.view(1, -1)
        return (layer(units).flatten(1) - bias).T


@given(seed=st.integers(0, 2**16), alpha=st.sampled_from([1.0, 30.0, 1000.0]), solver=st.sampled_from(sorted(SOLVERS)))
@settings(max_examples=20, deadline=None)
def test_a_scaled_standardised_convolution_is_edited_exactly(seed: int, alpha: float, solver: str) -> None:
    torch.manual_seed(seed)
    layer = ScaledStdConv2d(3, 5, 2, padding=0)
    layer.gain.data.normal_()
    network = built(layer)
    spaces = [
        collect_spaces(network, [torch.randn(4, 3, 5, 5) * scale], PositionSampler(0, k, 8), max_rank=8).spaces
        for k, scale in enumerate(torch.rand(2, 3, 1, 1) + 0.1)
    ]
    recipe = Recipe(solver, 1, Strength(alpha, 10.0))
    builder = CandidateBuilder(
        network.state(),
        [layer.maps for layer in network.layers],
        retain=lambda key: [spaces[0][key]],
        forget=lambda key: [spaces[1][key]],
        solvers=SOLVERS,
    )
    before = rows_of(layer)
    weights = MapWeights(network.state(), network.state())
    (m,) = network.map_groups
    torch.testing.assert_close(weights.of(m), before, rtol=1e-4, atol=1e-6)
    candidate = builder.build(recipe)
    delta = SOLVERS[solver].delta(builder._factors_of(m), recipe.strength)
    # Spaces of patches without their means leave rows without a mean.
    torch.testing.assert_close(delta.mean(1), torch.zeros(5), rtol=0, atol=1e-5)
    network.load(candidate.state, "the edit")
    torch.testing.assert_close(rows_of(layer), before + delta, rtol=1e-3, atol=2e-5)


def test_a_row_that_is_taken_away_whole_answers_nothing() -> None:
    for layer in (ScaledStdConv2d(3, 4, 2), StdConv2d(3, 4, 2)):
        network = built(layer)
        network.load(edited(network, torch.zeros_like, network.state()), "the edit")
        torch.testing.assert_close(rows_of(layer), torch.zeros(4, 12), rtol=0, atol=1e-7)


def test_without_a_gain_a_row_may_become_shorter_and_not_longer_than_standardised() -> None:
    layer = StdConv2d(3, 4, 2)
    network, before = built(layer), rows_of(layer)
    state = {name: tensor.clone() for name, tensor in network.state().items()}
    network.load(edited(network, lambda rows: 0.3 * rows, state), "the edit")
    torch.testing.assert_close(rows_of(layer), 0.3 * before, rtol=1e-4, atol=1e-6)
    network.load(edited(network, lambda rows: 1.5 * rows, state), "the edit")
    longest = before / before.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(rows_of(layer), longest, rtol=1e-4, atol=1e-5)


def test_a_standardised_convolution_does_not_see_the_mean_of_a_patch() -> None:
    layer = StdConv2d(3, 4, 2, bias=True)
    patches = torch.randn(5, 3, 2, 2)
    with torch.no_grad():
        torch.testing.assert_close(layer(patches + torch.randn(5, 1, 1, 1)), layer(patches), rtol=1e-4, atol=1e-4)
