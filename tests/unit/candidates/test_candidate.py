"""Candidates: the last layers edited as the solver says, everything else as registered."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.grouped import GroupedSpace
from ledger.algebra.map_factors import MapFactors
from ledger.algebra.projection import projection_delta
from ledger.algebra.spaces import Space, forget_weights, retain_weights, stack
from ledger.algebra.strength import Strength
from ledger.candidates.candidate import CandidateBuilder, Recipe
from ledger.domain.linear_map import LinearMap
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins
from ledger.spaces import bases
from ledger.spaces.bases import AnySpace

PLUGINS = build_plugins()
STRENGTH = Strength(100.0, 30.0, 1)


def space(width: int, seed: int) -> Space:
    """Return a space of full rank that leans towards some directions."""
    generator = torch.Generator().manual_seed(seed)
    accumulator = CovarianceAccumulator(width, max_rank=width)
    accumulator.update(torch.randn(3 * width, width, generator=generator) * torch.rand(width, generator=generator))
    return accumulator.space()


class Spaces:
    """Makes the spaces of some classes at any map, and remembers which maps were asked about."""

    def __init__(self, maps: Sequence[LinearMap], classes: Sequence[int]) -> None:
        self.numbered = {m.key: (position, m.width) for position, m in enumerate(maps)}
        self.classes = classes
        self.asked: list[str] = []

    def __call__(self, key: str) -> list[AnySpace]:
        self.asked.append(key)
        if key in self.numbered:
            return [*self.of_map(key)]
        groups = [self.of_map(known) for known in self.numbered if known.startswith(f"{key}[")]
        return [together(of_class) for of_class in zip(*groups, strict=True)]

    def of_map(self, key: str) -> list[Space]:
        position, width = self.numbered[key]
        return [space(width, 100 * k + position) for k in self.classes]


def together(spaces: Sequence[Space]) -> GroupedSpace:
    """Return the spaces of one class at the groups of a layer as one."""
    moments = torch.stack([s.trace * s.factor.double() @ s.factor.double().T for s in spaces])
    return GroupedSpace.of(moments, spaces[0].rows, torch.tensor([s.trace for s in spaces], dtype=torch.float64))


def build_from(
    base: dict[str, Tensor], layers: Sequence[Sequence[LinearMap]]
) -> tuple[CandidateBuilder, Spaces, Spaces]:
    maps = [m for layer in layers for m in layer]
    retain, forget = Spaces(maps, [0, 1, 2]), Spaces(maps, [3])
    solvers = PLUGINS.solvers(["projection", "least-squares"])
    return CandidateBuilder(base, layers, retain, forget, solvers), retain, forget


def chain(layers: int) -> tuple[dict[str, Tensor], list[list[LinearMap]]]:
    """Return weights and maps of linear layers of widths 3, 4, 5 and so on."""
    torch.manual_seed(0)
    base: dict[str, Tensor] = {}
    for n in range(layers):
        base |= {f"l{n}.weight": torch.randn(4 + n, 3 + n), f"l{n}.bias": torch.randn(4 + n)}
    return base, [[LinearMap(f"l{n}.weight", f"l{n}.weight", 0, 4 + n, 3 + n)] for n in range(layers)]


def expected_delta(base: dict[str, Tensor], m: LinearMap, retain: Spaces, forget: Spaces) -> Tensor:
    """Return the projection's change of one map, from the algebra alone."""
    kept, removed = retain.of_map(m.key), forget.of_map(m.key)
    weight = base[m.parameter].reshape(len(base[m.parameter]), -1)[m.start : m.stop].float()
    factors = MapFactors(weight, stack(kept, retain_weights(kept)), stack(removed, forget_weights(removed)))
    return projection_delta(factors, STRENGTH)


# -- depths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "ladder"), [(1, (1,)), (2, (2, 1)), (5, (5, 3, 2, 1)), (11, (11, 6, 3, 2, 1)), (16, (16, 8, 4, 2, 1))]
)
def test_depths_go_from_all_layers_by_halves_to_one(layers: int, ladder: tuple[int, ...]) -> None:
    assert build_from(*chain(layers))[0].depths() == ladder


@given(st.integers(1, 3000))
def test_each_depth_is_half_of_the_one_before(layers: int) -> None:
    maps = [[LinearMap(str(n), str(n), 0, 1, 1)] for n in range(layers)]
    ladder = CandidateBuilder({}, maps, lambda _: [], lambda _: [], {}).depths()
    assert ladder[0] == layers
    assert ladder[-1] == 1
    assert all(shallower == math.ceil(deeper / 2) for deeper, shallower in pairwise(ladder))
    assert len(set(ladder)) == len(ladder)


def test_depths_that_are_wanted_are_cut_to_what_there_is() -> None:
    builder = build_from(*chain(5))[0]
    assert builder.depths((3,)) == (3,)
    assert builder.depths((2, 9, 5, 1, 7)) == (2, 5, 1)
    assert builder.depths((100,)) == (5,)


# -- building -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["projection", "least-squares"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_only_the_last_layers_change_and_the_rest_is_shared(solver: str, depth: int) -> None:
    base, layers = chain(4)
    before = {name: tensor.clone() for name, tensor in base.items()}
    builder, retain, forget = build_from(base, layers)
    candidate = builder.build(Recipe(solver, depth, STRENGTH))
    edited = {f"l{n}.weight" for n in range(4 - depth, 4)}
    assert list(candidate.state) == list(base)
    for name, tensor in candidate.state.items():
        if name in edited:
            assert not torch.equal(tensor, base[name])
            assert tensor.untyped_storage().data_ptr() != base[name].untyped_storage().data_ptr()
        else:
            assert tensor is base[name]
        torch.testing.assert_close(base[name], before[name], rtol=0, atol=0)
    assert {change.key for change in candidate.changes} == set(retain.asked) == set(forget.asked) == edited


def test_a_map_changes_by_what_the_solver_says() -> None:
    base, layers = chain(3)
    builder, retain, forget = build_from(base, layers)
    candidate = builder.build(Recipe("projection", 3, STRENGTH))
    for (m,) in layers:
        expected = base[m.parameter] + expected_delta(base, m, retain, forget)
        torch.testing.assert_close(candidate.state[m.parameter], expected, rtol=0, atol=0)


def test_a_candidate_says_how_large_its_edit_is() -> None:
    base, layers = chain(3)
    candidate = build_from(base, layers)[0].build(Recipe("projection", 2, STRENGTH))
    relative = [
        float((candidate.state[name] - base[name]).norm() / base[name].norm()) for name in ("l1.weight", "l2.weight")
    ]
    # The change is taken from the written weights here, which rounds it once more.
    assert [change.relative for change in candidate.changes] == pytest.approx(relative, rel=1e-4)
    assert candidate.size == pytest.approx(math.sqrt((relative[0] ** 2 + relative[1] ** 2) / 2), rel=1e-4)
    assert [(change.retain_rank, change.forget_rank) for change in candidate.changes] == [(4, 4), (5, 5)]


def test_the_rank_of_a_forget_space_does_not_grow_with_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "LARGEST_FORGET", 2)
    base, layers = chain(2)
    candidate = build_from(base, layers)[0].build(Recipe("projection", 2, STRENGTH))
    assert [change.forget_rank for change in candidate.changes] == [2, 2]
    assert [change.retain_rank for change in candidate.changes] == [3, 4]


def test_a_candidate_takes_over_the_layout_in_which_a_network_holds_its_weights() -> None:
    base = {"c.weight": torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)), "c.bias": torch.zeros(4)}
    held = {"c.weight": base["c.weight"].contiguous(memory_format=torch.channels_last), "c.bias": base["c.bias"]}
    layers = [[LinearMap("c.weight", "c.weight", 0, 4, 12)]]
    kept, removed = space(12, 1), space(12, 2)
    plain, laid_out = (
        CandidateBuilder(
            base, layers, lambda _: [kept], lambda _: [removed], PLUGINS.solvers(["projection"]), held=shared
        ).build(Recipe("projection", 1, STRENGTH))
        for shared in (None, held)
    )
    torch.testing.assert_close(laid_out.state["c.weight"], plain.state["c.weight"], rtol=0, atol=0)
    assert laid_out.changes == plain.changes
    assert laid_out.state["c.weight"].is_contiguous(memory_format=torch.channels_last)
    assert plain.state["c.weight"].is_contiguous()
    assert laid_out.state["c.bias"] is held["c.bias"]


def test_a_weight_of_zeros_stays_so_and_counts_as_unchanged() -> None:
    base, layers = chain(1)
    base["l0.weight"].zero_()
    candidate = build_from(base, layers)[0].build(Recipe("projection", 1, STRENGTH))
    torch.testing.assert_close(candidate.state["l0.weight"], base["l0.weight"], rtol=0, atol=0)
    assert candidate.size == 0.0


def test_a_candidate_does_not_depend_on_those_built_before() -> None:
    base, layers = chain(4)
    recipes = [
        Recipe(solver, depth, Strength(alpha_r, alpha_f, 2))
        for solver in ("projection", "least-squares")
        for depth in (1, 4, 2)
        for alpha_r in (10.0, 300.0)
        for alpha_f in (3.0, 100.0)
    ]
    used = build_from(base, layers)[0]
    for recipe in (*recipes, *reversed(recipes)):
        fresh = build_from(base, layers)[0].build(recipe)
        candidate = used.build(recipe)
        assert candidate.changes == fresh.changes
        for name, tensor in candidate.state.items():
            torch.testing.assert_close(tensor, fresh.state[name], rtol=0, atol=0)


def test_spaces_are_asked_for_once_a_map() -> None:
    builder, retain, forget = build_from(*chain(3))
    for depth in (1, 3, 2, 3):
        builder.build(Recipe("projection", depth, STRENGTH))
    assert sorted(retain.asked) == sorted(forget.asked) == ["l0.weight", "l1.weight", "l2.weight"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_are_written_back_in_their_own_precision(dtype: torch.dtype) -> None:
    base, layers = chain(2)
    base = {name: tensor.to(dtype) for name, tensor in base.items()}
    builder, retain, forget = build_from(base, layers)
    candidate = builder.build(Recipe("projection", 2, STRENGTH))
    for (m,) in layers:
        written = candidate.state[m.parameter]
        assert written.dtype == dtype
        assert not torch.equal(written, base[m.parameter])
        expected = (base[m.parameter].float() + expected_delta(base, m, retain, forget)).to(dtype)
        torch.testing.assert_close(written, expected, rtol=0, atol=0)


def grouped() -> tuple[dict[str, Tensor], list[tuple[LinearMap, ...]]]:
    """Return a network with a grouped convolution, and its maps."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(6, 3))
    network = Network.of(module, PLUGINS.layer_handlers())
    return network.state(), [layer.maps for layer in network.layers]


def test_every_group_of_a_convolution_is_edited_on_its_own() -> None:
    base, layers = grouped()
    assert [m.key for m in layers[0]] == ["0.weight[0]", "0.weight[1]"]
    before = base["0.weight"].clone()
    builder, retain, forget = build_from(base, layers)
    weight = builder.build(Recipe("projection", 2, STRENGTH)).state["0.weight"]
    assert weight.shape == before.shape
    torch.testing.assert_close(base["0.weight"], before, rtol=0, atol=0)
    for m in layers[0]:
        expected = before.flatten(1)[m.start : m.stop] + expected_delta(base, m, retain, forget)
        # Float32 products of the same numbers in another order.
        torch.testing.assert_close(weight.flatten(1)[m.start : m.stop], expected, rtol=1e-4, atol=1e-5)
        assert not torch.equal(weight[m.start : m.stop], before[m.start : m.stop])


@pytest.mark.parametrize("name", ["projection", "least-squares"])
def test_a_solver_of_single_maps_solves_groups_one_by_one_to_the_same_weights(name: str) -> None:
    solver = PLUGINS.solvers([name])[name]

    class OneByOne:
        def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
            assert factors.weight.ndim == 2
            return solver.delta(factors, strength)

    base, layers = grouped()
    together_, retain, forget = build_from(base, layers)
    apart = CandidateBuilder(base, layers, retain, forget, {name: OneByOne()})  # type: ignore[dict-item]
    expected, got = (builder.build(Recipe(name, 2, STRENGTH)) for builder in (apart, together_))
    torch.testing.assert_close(got.state["0.weight"], expected.state["0.weight"], rtol=1e-4, atol=1e-5)
    assert [c.relative for c in got.changes] == pytest.approx([c.relative for c in expected.changes], rel=1e-4)


def test_the_groups_of_a_layer_are_one_change() -> None:
    base, layers = grouped()
    candidate = build_from(base, layers)[0].build(Recipe("projection", 2, STRENGTH))
    summed, single = candidate.changes
    assert (summed.key, summed.groups, single.key, single.groups, single.most) == ("0.weight", 2, "2.weight", 1, None)
    change = (candidate.state["0.weight"] - base["0.weight"]).flatten(1)
    assert summed.relative == pytest.approx(float(change.norm() / base["0.weight"].norm()), rel=1e-4)
    by_group = [float(change[m.start : m.stop].norm() / base["0.weight"][m.start : m.stop].norm()) for m in layers[0]]
    assert summed.most == pytest.approx(max(by_group), rel=1e-4)


def test_a_convolution_laid_out_channels_last_is_edited_the_same() -> None:
    base, layers = grouped()
    expected = build_from(base, layers)[0].build(Recipe("projection", 2, STRENGTH)).state["0.weight"]
    assert not torch.equal(expected, base["0.weight"])
    laid_out = {**base, "0.weight": base["0.weight"].contiguous(memory_format=torch.channels_last)}
    candidate = build_from(laid_out, layers)[0].build(Recipe("projection", 2, STRENGTH))
    torch.testing.assert_close(candidate.state["0.weight"], expected, rtol=0, atol=0)
