"""What every solver promises, and how a stranger's is found."""

import math
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger import plugin_manager
from ledger.algebra.displacement import Displacement
from ledger.algebra.map_factors import MapFactors
from ledger.algebra.strength import Strength
from ledger.candidates.graded_search import grids
from ledger.domain.settings import Settings
from ledger.errors import PluginError, UsageError
from ledger.hookspecs import Solver, hookimpl
from ledger.plugin_manager import build_plugins

REMOVING = ("projection", "least-squares")
"""Those that remove what the forget space holds; the other one answers it differently."""
BUILTIN = ("redirect", *REMOVING)
SOLVERS = build_plugins().solvers(BUILTIN)
ALPHAS = st.sampled_from([1.0, 3.0, 100.0, 1e5])
STRENGTHS = st.builds(Strength, ALPHAS, ALPHAS, st.integers(1, 3))

each_solver = pytest.mark.parametrize("name", BUILTIN)
each_removing_solver = pytest.mark.parametrize("name", REMOVING)


def factor(width: int, rank: int, seed: int) -> Tensor:
    """Return a factor (i, r) of a space of trace 1."""
    made = torch.randn(width, rank, generator=torch.Generator().manual_seed(seed))
    return made / made.norm() if rank else made


def displaced(means: Tensor, retained: Tensor) -> Displacement:
    """Return the displacement (i, 1) of a class of these means, (i, 1), that resembles all retained ones (i, r)."""
    return Displacement(means - retained.mean(1, keepdim=True), torch.tensor([math.inf]).double(), retained)


def factors(outputs: int = 5, width: int = 8, retain: int = 3, forget: int = 2) -> MapFactors:
    weight = torch.randn(outputs, width, generator=torch.Generator().manual_seed(7))
    spaces = factor(width, retain, 1), factor(width, forget, 2)
    apart = displaced(factor(width, 1, 3), factor(width, retain, 4)) if retain and forget else None
    return MapFactors(weight, *spaces, displacement=apart)


def same(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@each_solver
def test_a_solver_goes_by_its_name(name: str) -> None:
    assert SOLVERS[name].name == name


@each_solver
@given(strength=STRENGTHS, before=st.lists(STRENGTHS, max_size=4))
def test_a_change_is_a_function_of_the_arguments_alone(name: str, strength: Strength, before: list[Strength]) -> None:
    shared = factors()
    for other in before:
        for solver in SOLVERS.values():
            solver.delta(shared, other)
    first = SOLVERS[name].delta(shared, strength)
    same(first, SOLVERS[name].delta(shared, strength))
    same(first, SOLVERS[name].delta(factors(), strength))


@each_solver
@given(strength=STRENGTHS)
def test_its_arguments_stay_as_they_were(name: str, strength: Strength) -> None:
    given_factors, untouched = factors(), factors()
    SOLVERS[name].delta(given_factors, strength)
    for part in ("weight", "retain", "forget", "weight_retain", "weight_forget", "retain_gram", "forget_gram", "cross"):
        same(getattr(given_factors, part), getattr(untouched, part))


@each_solver
@given(
    outputs=st.integers(1, 6),
    width=st.integers(1, 9),
    retain=st.integers(0, 9),
    forget=st.integers(0, 9),
    strength=STRENGTHS,
)
def test_a_change_has_the_shape_and_precision_of_the_weight(
    name: str, outputs: int, width: int, retain: int, forget: int, strength: Strength
) -> None:
    made = factors(outputs, width, min(retain, width), min(forget, width))
    change = SOLVERS[name].delta(made, strength)
    assert change.shape == made.weight.shape
    assert change.dtype == torch.float32
    assert torch.isfinite(change).all()


@each_solver
def test_nothing_to_forget_changes_nothing(name: str) -> None:
    change = SOLVERS[name].delta(factors(forget=0), Strength(100.0, 100.0, 1))
    same(change, torch.zeros(5, 8))


@each_removing_solver
def test_a_solver_removes_what_only_the_forget_space_holds_and_keeps_what_the_retain_space_holds(name: str) -> None:
    axes = torch.eye(4)
    made = MapFactors(axes.clone(), axes[:, :1], axes[:, 1:2])
    assert float((made.weight @ axes[1]).norm()) == 1.0
    edited = made.weight + SOLVERS[name].delta(made, Strength(1e4, 1e4, 1))
    # At such strengths about 1 / alpha is left of what is removed.
    torch.testing.assert_close(edited @ axes[1], torch.zeros(4), rtol=0, atol=2e-4)
    for kept in (0, 2, 3):
        same(edited @ axes[kept], axes[kept])


@each_removing_solver
@given(weak=st.floats(1, 1e4), times=st.floats(1, 100), alpha_r=st.floats(1, 1e4))
def test_a_larger_alpha_f_leaves_no_more_of_a_direction_that_is_only_forgotten(
    name: str, weak: float, times: float, alpha_r: float
) -> None:
    axes = torch.eye(4)
    made = MapFactors(axes.clone(), axes[:, :1], axes[:, 1:2] * 0.6)
    less, more = (
        float(((made.weight + SOLVERS[name].delta(made, Strength(alpha_r, a, 1))) @ axes[1]).norm())
        for a in (weak, weak * times)
    )
    assert less < 1.0
    # Rounding of float32 weights near 1.
    assert more <= less + 1e-6


def test_a_redirected_class_is_answered_as_what_it_resembles_and_nothing_else_changes() -> None:
    axes = torch.eye(4)
    retained = axes[:, [0, 3]]
    made = MapFactors(axes.clone(), retained / 2**0.5, axes[:, 1:2], displacement=displaced(axes[:, 1:2], retained))
    edited = made.weight + SOLVERS["redirect"].delta(made, Strength(1e4, 1.0, 1))
    # All but a thousandth of the way, and about as little on the retained rows.
    torch.testing.assert_close(edited @ axes[1], retained.mean(1), rtol=0, atol=2e-3)
    for kept in (0, 2, 3):
        torch.testing.assert_close(edited @ axes[kept], axes[kept], rtol=0, atol=2e-3)


# -- how they are found -------------------------------------------------------------------------------


def test_solvers_come_in_the_order_asked_for_and_no_others() -> None:
    assert list(build_plugins().solvers(["least-squares", "projection"])) == ["least-squares", "projection"]
    assert list(build_plugins().solvers(["projection"])) == ["projection"]
    assert build_plugins().solvers([]) == {}


def test_of_those_built_in_only_redirect_forgets_at_any_strength() -> None:
    settings = Settings()
    own = grids(SOLVERS, settings)
    assert list(own) == ["redirect"]
    assert own["redirect"] == tuple(sorted(own["redirect"]))
    # The strengths that somebody states count for it, too.
    stated = grids(SOLVERS, replace(settings, alpha_r=(30.0, 10.0), alpha_f=(3.0, 2.0)))
    assert stated == {"redirect": ((10.0, 2.0), (30.0, 2.0), (10.0, 3.0), (30.0, 3.0))}


@pytest.mark.parametrize(
    "strengths", [(), None, 5, (1.0, 2.0), ((1.0,),), ((100.0, 0.5),), ((math.inf, 1.0),), ("ab",)]
)
def test_a_strangers_strengths_must_be_pairs_of_numbers_from_1(strengths: Any) -> None:
    with pytest.raises(PluginError, match="the strengths of solver halving are not pairs of numbers from 1"):
        grids({"halving": Halving(strengths)}, Settings())


def test_a_strength_stated_twice_is_tried_once() -> None:
    assert grids({"halving": Halving([(2, 1), (2.0, 1.0), (3, 1)])}, Settings()) == {
        "halving": ((2.0, 1.0), (3.0, 1.0))
    }


def test_an_unknown_solver_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(UsageError, match="no solver is called gradient, newton") as refused:
        build_plugins().solvers(["newton", "projection", "gradient"])
    assert refused.value.hint is not None
    assert all(name in refused.value.hint for name in BUILTIN)


class Halving:
    """Takes half of every weight."""

    name = "halving"

    def __init__(self, strengths: Any = ()) -> None:
        self.strengths = strengths

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        return -factors.weight / 2


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Sequence[Solver]]], None]:
    """Announce a stranger's plugin, as an installed package would."""

    def announce(unledger_solvers: Callable[[], Sequence[Solver]]) -> None:
        module = types.ModuleType("strangers_solver")
        vars(module)["unledger_solvers"] = hookimpl(unledger_solvers)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        point = EntryPoint("stranger", module.__name__, plugin_manager.ENTRY_POINT_GROUP)
        monkeypatch.setattr(plugin_manager, "entry_points", lambda *, group: [point] if group == point.group else [])

    return announce


def test_a_strangers_solver_is_found_beside_the_built_in_ones(
    install: Callable[[Callable[[], Sequence[Solver]]], None],
) -> None:
    with pytest.raises(UsageError):
        build_plugins().solvers(["halving"])
    install(lambda: (Halving(),))
    plugins = build_plugins()
    (info,) = (info for info in plugins.infos if not info.builtin)
    assert (info.name, info.hooks, info.error) == ("stranger", ("unledger_solvers",), None)
    found = plugins.solvers(["halving", *BUILTIN])
    assert list(found) == ["halving", *BUILTIN]
    made = factors()
    same(found["halving"].delta(made, Strength(1.0, 1.0, 1)), -made.weight / 2)


def test_a_stranger_that_fails_to_say_what_it_offers_is_named(
    install: Callable[[Callable[[], Sequence[Solver]]], None],
) -> None:
    def fail() -> Sequence[Solver]:
        raise RuntimeError("no licence server")

    install(fail)
    with pytest.raises(PluginError, match="plugin stranger in unledger_solvers failed: RuntimeError: no licence"):
        build_plugins().solvers(["projection"])
