"""The redirection of forgotten classes against its dense float64 definition and the objective it is to minimise."""

import math
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.algebra.displacement import Displacement
from ledger.algebra.map_factors import MapFactors
from ledger.algebra.redirect import EXACTNESS, redirect_delta
from ledger.algebra.strength import Strength
from tests.unit.algebra.dense import directions, factor_of, normal

ALPHAS_R = st.sampled_from([1.0, 10.0, 100.0, 1e4])
ALPHAS_F = st.sampled_from([1.0, 10.0, 30.0, 100.0])
SEEDS = st.integers(0, 2**16)
OUTPUTS, WIDTH = 5, 12


def metric(factors: MapFactors, strength: Strength) -> Tensor:
    """Return ``C_R + b / i I``, what a change of the answers costs in each direction."""
    width = factors.weight.shape[1]
    retained = factors.retain.double() @ factors.retain.double().T
    return retained + torch.eye(width, dtype=torch.float64) / (strength.alpha_r * width)


def looseness(factors: MapFactors, strength: Strength) -> Tensor:
    """Return ``N``: how far each column may miss, in the metric of ``Q``."""
    assert factors.displacement is not None
    columns, weights = factors.displacement.columns.double(), factors.displacement.weights
    energies = [column @ torch.linalg.solve(metric(factors, strength), column) for column in columns.T]
    own = [float(e) for e, w in zip(energies, weights, strict=True) if math.isinf(w)]
    scale = sum(own) / len(own)
    return torch.diag(
        torch.tensor([scale * (EXACTNESS if math.isinf(w) else 1 / (strength.alpha_f * float(w))) for w in weights])
    ).double()


def defined_delta(factors: MapFactors, strength: Strength) -> Tensor:
    """Return ``-W D (Q^T D + N)^-1 Q^T``."""
    assert factors.displacement is not None
    weight, columns = factors.weight.double(), factors.displacement.columns.double()
    solved = torch.linalg.solve(metric(factors, strength), columns)
    inner = solved.T @ columns + looseness(factors, strength)
    delta: Tensor = -weight @ columns @ torch.linalg.inv(inner) @ solved.T
    return delta


def objective(delta: Tensor, factors: MapFactors, strength: Strength) -> Tensor:
    """Return what the change minimises: what retained rows notice, its size, and how far each column is missed."""
    assert factors.displacement is not None
    columns = factors.displacement.columns
    missed = (factors.weight + delta) @ columns
    cost = torch.trace(delta @ metric(factors, strength) @ delta.T)
    return cost + (missed.square().sum(0) / looseness(factors, strength).diagonal()).sum()


def cost(delta: Tensor, factors: MapFactors, strength: Strength) -> float:
    """Return what retained rows notice, and the size of the change, weighed by ``b / i``."""
    return float(torch.trace(delta @ metric(factors, strength) @ delta.T))


def random_factors(seed: int, *, classes: int = 2, groups: int = 1, retained: int = 7) -> MapFactors:
    """Return a map with the displacement of some classes, each followed by its look-alike groups."""
    columns = normal(WIDTH, classes * (1 + groups), seed=seed + 2)
    shares = torch.full((groups,), 1 / max(1, groups), dtype=torch.float64)
    weights = torch.cat([torch.tensor([math.inf], dtype=torch.float64), shares]).repeat(classes)
    known = Displacement(columns, weights, normal(WIDTH, retained, seed=seed + 3))
    return MapFactors(
        normal(OUTPUTS, WIDTH, seed=seed),
        factor_of(normal(2 * retained, WIDTH, seed=seed + 1)),
        torch.zeros(WIDTH, 0, dtype=torch.float64),
        displacement=known,
    )


def with_columns(factors: MapFactors, columns: Tensor, weights: Tensor) -> MapFactors:
    """Return the same map with another displacement."""
    assert factors.displacement is not None
    known = Displacement(columns, weights, factors.displacement.retained)
    return MapFactors(factors.weight, factors.retain, factors.forget, factors.own_outputs, known)


def own_only(factors: MapFactors) -> MapFactors:
    """Return the same map without look-alike groups."""
    assert factors.displacement is not None
    own = torch.isinf(factors.displacement.weights)
    return with_columns(factors, factors.displacement.columns[:, own], factors.displacement.weights[own])


def columns_of(factors: MapFactors) -> Tensor:
    assert factors.displacement is not None
    return factors.displacement.columns


# -- what it is ---------------------------------------------------------------------------------------


@given(
    classes=st.integers(1, 4), groups=st.integers(0, 3), retained=st.integers(1, 9), r=ALPHAS_R, f=ALPHAS_F, seed=SEEDS
)
def test_it_is_what_its_definition_says(
    classes: int, groups: int, retained: int, r: float, f: float, seed: int
) -> None:
    factors, strength = random_factors(seed, classes=classes, groups=groups, retained=retained), Strength(r, f, classes)
    expected = defined_delta(factors, strength)
    # Systems of a condition of up to alpha_r i / EXACTNESS, 1e8 here.
    torch.testing.assert_close(redirect_delta(factors, strength), expected, rtol=1e-6, atol=1e-7)


@given(classes=st.integers(1, 3), groups=st.integers(0, 2), r=ALPHAS_R, f=ALPHAS_F, seed=SEEDS)
def test_nothing_else_is_better_in_what_it_minimises(classes: int, groups: int, r: float, f: float, seed: int) -> None:
    factors, strength = random_factors(seed, classes=classes, groups=groups), Strength(r, f, classes)
    delta = redirect_delta(factors, strength)
    best = float(objective(delta, factors, strength))
    assert best < float(objective(torch.zeros_like(delta), factors, strength))
    for step in (1e-3, 1.0):
        other = delta + step * normal(OUTPUTS, WIDTH, seed=seed + 9)
        assert float(objective(other, factors, strength)) > best


@given(classes=st.integers(1, 3), groups=st.integers(0, 2), r=ALPHAS_R, seed=SEEDS)
def test_of_all_changes_with_the_same_answers_to_the_displacement_it_costs_retained_rows_least(
    classes: int, groups: int, r: float, seed: int
) -> None:
    factors, strength = random_factors(seed, classes=classes, groups=groups), Strength(r, 30.0, classes)
    delta, columns = redirect_delta(factors, strength), columns_of(factors)
    outside = torch.eye(WIDTH, dtype=torch.float64) - columns @ torch.linalg.pinv(columns)
    for step in (1e-2, 1.0):
        other = delta + step * normal(OUTPUTS, WIDTH, seed=seed + 9) @ outside
        torch.testing.assert_close(other @ columns, delta @ columns, rtol=0, atol=1e-9)
        assert cost(other, factors, strength) > cost(delta, factors, strength)


# -- where forgotten classes go -----------------------------------------------------------------------


@given(r=ALPHAS_R, seed=SEEDS)
def test_the_mean_row_of_one_forgotten_class_is_answered_as_its_mixture_up_to_the_stated_exactness(
    r: float, seed: int
) -> None:
    """The sanity pair: before, the two answers differ by all of ``W D``; afterwards by that share of it."""
    factors = random_factors(seed, classes=1, groups=0)
    mixture = normal(WIDTH, 1, seed=seed + 5)
    mean = mixture + columns_of(factors)
    edited = factors.weight + redirect_delta(factors, Strength(r, 30.0))
    apart = factors.weight @ (mean - mixture)
    assert float(apart.norm()) > 1e-2
    expected = apart * EXACTNESS / (1 + EXACTNESS)
    torch.testing.assert_close(edited @ mean - edited @ mixture, expected, rtol=1e-5, atol=1e-9)


@given(classes=st.integers(1, 4), r=ALPHAS_R, seed=SEEDS)
def test_several_classes_are_answered_as_their_mixtures_are_in_the_limit(classes: int, r: float, seed: int) -> None:
    factors = random_factors(seed, classes=classes, groups=0)
    columns = columns_of(factors)
    left = []
    for exactness in (1e-3, 1e-6, 1e-9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ledger.algebra.redirect.EXACTNESS", exactness)
            edited = factors.weight + redirect_delta(factors, Strength(r, 30.0, classes))
        left.append(float((edited @ columns).norm() / (factors.weight @ columns).norm()))
    assert left[0] > left[1] > left[2]
    assert left[2] < 1e-5


@given(seed=SEEDS)
def test_the_stronger_the_less_parts_images_of_a_class_by_what_they_resemble(seed: int) -> None:
    factors = random_factors(seed, classes=1, groups=2)
    columns = columns_of(factors)
    left = []
    for alpha_f in (1.0, 10.0, 100.0, 1e6):
        edited = factors.weight + redirect_delta(factors, Strength(100.0, alpha_f))
        solved = torch.linalg.inv(looseness(factors, Strength(100.0, 1.0)))[1:, 1:]
        missed = (edited @ columns)[:, 1:]
        left.append(float(torch.trace(missed @ solved @ missed.T)))
    assert left == sorted(left, reverse=True)
    assert left[-1] < 1e-3 * left[0]


def test_without_groups_the_forget_alpha_does_not_matter_and_a_small_group_hardly_does() -> None:
    factors = random_factors(0, classes=2, groups=0)
    weak, strong = (redirect_delta(factors, Strength(100.0, alpha_f, 2)) for alpha_f in (1.0, 1e4))
    torch.testing.assert_close(weak, strong, rtol=0, atol=0)
    columns = torch.cat([columns_of(factors), normal(WIDTH, 1, seed=8)], dim=1)
    weights = torch.tensor([math.inf, math.inf, 1e-9], dtype=torch.float64)
    tiny = redirect_delta(with_columns(factors, columns, weights), Strength(100.0, 1.0, 2))
    torch.testing.assert_close(tiny, weak, rtol=0, atol=1e-5)


def test_rows_that_the_displacement_does_not_reach_are_answered_as_before() -> None:
    """Retained rows use some directions, the displacement others: nothing that is retained is noticed."""
    basis = directions(WIDTH, WIDTH, seed=4)
    retained_rows, columns = normal(40, 7) @ basis[:, :7].T, basis[:, 7:10] @ normal(3, 3, seed=1)
    known = Displacement(columns, torch.tensor([math.inf, math.inf, 0.5], dtype=torch.float64), retained_rows[:4].T)
    factors = MapFactors(normal(OUTPUTS, WIDTH, seed=2), factor_of(retained_rows), columns[:, :0], displacement=known)
    delta = redirect_delta(factors, Strength(100.0, 100.0, 2))
    edited = factors.weight + delta
    assert float((edited @ columns[:, :2]).norm()) < 1e-2 * float((factors.weight @ columns[:, :2]).norm())
    torch.testing.assert_close(retained_rows @ edited.T, retained_rows @ factors.weight.T, rtol=0, atol=1e-11)


@given(seed=SEEDS, r=ALPHAS_R)
def test_the_more_retained_rows_weigh_the_less_they_notice(seed: int, r: float) -> None:
    factors = random_factors(seed)
    weak, strong = (redirect_delta(factors, Strength(alpha, 30.0, 2)) @ factors.retain for alpha in (r, 100 * r))
    assert float(strong.norm()) < float(weak.norm())


# -- what does not matter -----------------------------------------------------------------------------


@given(classes=st.integers(1, 4), groups=st.integers(0, 2), seed=SEEDS, shuffle=st.integers(0, 2**16))
def test_the_order_of_forgotten_classes_and_groups_does_not_matter(
    classes: int, groups: int, seed: int, shuffle: int
) -> None:
    factors, strength = random_factors(seed, classes=classes, groups=groups), Strength(100.0, 30.0, classes)
    assert factors.displacement is not None
    order = list(range(columns_of(factors).shape[1]))
    Random(shuffle).shuffle(order)
    shuffled = with_columns(factors, columns_of(factors)[:, order], factors.displacement.weights[order])
    torch.testing.assert_close(
        redirect_delta(shuffled, strength), redirect_delta(factors, strength), rtol=1e-8, atol=1e-9
    )


def test_how_the_retain_factor_is_rotated_and_what_is_forgotten_besides_do_not_matter() -> None:
    factors = random_factors(3)
    turned = MapFactors(
        factors.weight,
        factors.retain @ directions(14, 14),
        normal(WIDTH, 3, seed=7),
        displacement=factors.displacement,
    )
    strength = Strength(100.0, 30.0, 2)
    torch.testing.assert_close(
        redirect_delta(turned, strength), redirect_delta(factors, strength), rtol=1e-8, atol=1e-10
    )


def test_a_grid_of_alphas_gives_the_same_bits_in_any_order_and_changes_nothing_it_is_given() -> None:
    grid = [Strength(r, f, 2) for r in (10.0, 100.0) for f in (1.0, 30.0)]
    forwards, backwards = random_factors(5), random_factors(5)
    found = {strength: redirect_delta(forwards, strength) for strength in grid}
    for strength in reversed(grid):
        assert torch.equal(redirect_delta(backwards, strength), found[strength])
        assert torch.equal(redirect_delta(random_factors(5), strength), found[strength])
    assert len({found[strength].sum().item() for strength in grid}) == len(grid)
    untouched = random_factors(5)
    assert torch.equal(forwards.weight, untouched.weight)
    assert torch.equal(forwards.retain, untouched.retain)
    assert torch.equal(columns_of(forwards), columns_of(untouched))


# -- where it is badly conditioned --------------------------------------------------------------------


@pytest.mark.parametrize("apart", [0.0, 1e-9, 1e-5, 1e-2])
def test_look_alikes_that_are_forgotten_together_are_changed_about_as_much_as_one_alone(apart: float) -> None:
    one = random_factors(6, classes=1, groups=0)
    first = columns_of(one)
    second = first + apart * normal(WIDTH, 1, seed=11)
    weights = torch.full((2,), math.inf, dtype=torch.float64)
    both = with_columns(one, torch.cat([first, second], dim=1), weights)
    alone, joint = (redirect_delta(f, Strength(100.0, 30.0)) for f in (one, both))
    assert bool(torch.isfinite(joint).all())
    # Told apart exactly, they would be changed 1 / apart times as much.
    assert float(joint.norm()) < 2 * float(alone.norm())
    edited = one.weight + joint
    for column in (first, second):
        before, after = (float((weight @ column).norm()) for weight in (one.weight, edited))
        assert after < 0.05 * before


def test_no_displacement_at_all_changes_nothing() -> None:
    factors = random_factors(1)
    assert factors.displacement is not None
    still = with_columns(factors, torch.zeros_like(columns_of(factors)), factors.displacement.weights)
    assert not bool(redirect_delta(still, Strength(100.0, 30.0, 2)).any())
    unknown = MapFactors(factors.weight, factors.retain, factors.forget, [1])
    assert not bool(redirect_delta(unknown, Strength(100.0, 30.0, 2)).any())


def test_a_class_that_does_not_reach_a_map_leaves_the_others_as_they_are() -> None:
    factors = random_factors(2, classes=2, groups=0)
    columns = columns_of(factors).clone()
    columns[:, 1] = 0
    both = with_columns(factors, columns, torch.full((2,), math.inf, dtype=torch.float64))
    with pytest.MonkeyPatch.context() as patch:
        # What a class may miss is a share of the mean displacement, of which the still one has its part.
        patch.setattr("ledger.algebra.redirect.EXACTNESS", 2 * EXACTNESS)
        delta = redirect_delta(both, Strength(100.0, 30.0))
    alone = with_columns(factors, columns[:, :1], torch.tensor([math.inf], dtype=torch.float64))
    torch.testing.assert_close(delta, redirect_delta(alone, Strength(100.0, 30.0)), rtol=1e-9, atol=1e-11)


# -- numbers ------------------------------------------------------------------------------------------


def in_single(factors: MapFactors, scale: float = 1.0, own: list[int] | None = None) -> MapFactors:
    """Return the same map in single precision, whose inputs are ``scale`` times as large."""
    known = factors.displacement
    assert known is not None
    # Spaces are normalised, so their factors do not know of the scale.
    scaled = Displacement((known.columns * scale).float(), known.weights, (known.retained * scale).float())
    return MapFactors(factors.weight.float(), factors.retain.float(), factors.forget.float(), own, scaled)


@pytest.mark.parametrize("own", [None, [1, 4]])
@pytest.mark.parametrize("scale", [1e-6, 1e6, 1e-12, 1e12])
def test_how_large_activations_are_does_not_matter(scale: float, own: list[int] | None) -> None:
    factors, strength = random_factors(4), Strength(100.0, 30.0, 2)
    unscaled, scaled = (redirect_delta(in_single(factors, s, own), strength) for s in (1.0, scale))
    assert scaled.dtype == torch.float32
    assert bool(torch.isfinite(scaled).all())
    assert float(unscaled.norm()) > 0.1
    # Rounding of the scaled columns in single precision.
    torch.testing.assert_close(scaled, unscaled, rtol=1e-4, atol=1e-4)
    if own is None:
        torch.testing.assert_close(unscaled.double(), defined_delta(factors, strength), rtol=1e-4, atol=1e-4)


@given(groups=st.integers(1, 4), classes=st.integers(1, 3), looks=st.integers(0, 2), r=ALPHAS_R, seed=SEEDS)
def test_several_maps_at_once_are_changed_as_one_by_one(
    groups: int, classes: int, looks: int, r: float, seed: int
) -> None:
    alone = [random_factors(seed + 10 * k, classes=classes, groups=looks) for k in range(groups)]
    known = [one.displacement for one in alone if one.displacement is not None]
    joint = MapFactors(
        torch.stack([one.weight for one in alone]),
        torch.stack([one.retain for one in alone]),
        torch.stack([one.forget for one in alone]),
        displacement=Displacement(
            torch.stack([k.columns for k in known]), known[0].weights, torch.stack([k.retained for k in known])
        ),
    )
    strength = Strength(r, 30.0, classes)
    delta = redirect_delta(joint, strength)
    for index, one in enumerate(alone):
        torch.testing.assert_close(delta[index], redirect_delta(one, strength), rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(redirect_delta(joint.one(index), strength), delta[index], rtol=1e-8, atol=1e-9)


def test_a_silent_map_of_several_stays_and_does_not_disturb_the_others() -> None:
    one = random_factors(7)
    assert one.displacement is not None
    columns = torch.stack([torch.zeros_like(one.displacement.columns), one.displacement.columns])
    joint = MapFactors(
        torch.stack([one.weight] * 2),
        torch.stack([torch.zeros_like(one.retain), one.retain]),
        torch.stack([one.forget] * 2),
        displacement=Displacement(columns, one.displacement.weights, torch.stack([one.displacement.retained] * 2)),
    )
    delta = redirect_delta(joint, Strength(100.0, 30.0, 2))
    assert not bool(delta[0].any())
    torch.testing.assert_close(delta[1], redirect_delta(one, Strength(100.0, 30.0, 2)), rtol=1e-9, atol=1e-11)


# -- the classifier -----------------------------------------------------------------------------------


def classifier(seed: int, own: list[int], *, classes: int = 6) -> MapFactors:
    """Return a classifier of non-negative features, each class along a direction of its own beside a shared part."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.rand(classes, WIDTH, generator=generator, dtype=torch.float64) * 0.3 + 0.5
    means[:, :classes] += 2 * torch.eye(classes, dtype=torch.float64)
    kept = [k for k in range(classes) if k not in own] or own
    noise = torch.rand(len(kept), 30, WIDTH, generator=generator, dtype=torch.float64) - 0.5
    rows = (means[kept][:, None] + 0.3 * noise).clamp_min(0).flatten(0, 1)
    mixture = torch.rand(len(kept), len(own), generator=generator, dtype=torch.float64)
    retained = means[kept].T
    columns = means[own].T - retained @ (mixture / mixture.sum(0))
    known = Displacement(columns, torch.full((len(own),), math.inf, dtype=torch.float64), retained)
    weight = torch.eye(classes, WIDTH, dtype=torch.float64) * 3 + 0.3 * normal(classes, WIDTH, seed=seed)
    return MapFactors(weight, factor_of(rows), columns[:, :0], own, known)


OWN = st.lists(st.integers(0, 5), min_size=1, max_size=5, unique=True)


@given(own=OWN, r=ALPHAS_R, seed=SEEDS)
def test_no_forgotten_class_is_answered_on_retained_means_nor_between_them(own: list[int], r: float, seed: int) -> None:
    """The sanity pair: each forgotten class was the answer to its own mean row before."""
    factors = classifier(seed, own)
    assert factors.displacement is not None
    kept = [k for k in range(6) if k not in own]
    edited = factors.weight + redirect_delta(factors, Strength(r, 30.0, len(own)))
    shares = torch.rand(len(kept), 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = torch.cat([factors.displacement.retained, factors.displacement.retained @ (shares / shares.sum(0))], dim=1)
    answers = edited @ rows
    assert bool((answers[own].amax(0) < answers[kept].amax(0)).all())


@given(own=OWN, seed=SEEDS)
def test_rows_of_forgotten_classes_themselves_go_to_retained_classes(own: list[int], seed: int) -> None:
    factors = classifier(seed, own)
    assert factors.displacement is not None
    kept = [k for k in range(6) if k not in own]
    # The means themselves, not what deeper edits make of them: the classifier alone has to do.
    means = torch.rand(6, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.3 + 0.5
    means[:, :6] += 2 * torch.eye(6, dtype=torch.float64)
    before = factors.weight @ means[own].T
    assert before.argmax(0).tolist() == own
    after = (factors.weight + redirect_delta(factors, Strength(100.0, 30.0, len(own)))) @ means[own].T
    assert bool((after[own].amax(0) < after[kept].amax(0)).all())


def test_each_forgotten_output_is_the_mean_of_the_others_less_a_margin() -> None:
    own, strength = [1, 4], Strength(100.0, 30.0, 2)
    factors = classifier(0, own)
    assert factors.displacement is not None
    kept, retained = [0, 2, 3, 5], factors.displacement.retained
    edited = factors.weight + redirect_delta(factors, strength)
    redirected = factors.weight + defined_delta(factors, strength)
    torch.testing.assert_close(edited[kept], redirected[kept], rtol=0, atol=1e-9)
    center = retained.mean(1)
    one = torch.linalg.solve(metric(factors, strength), center)
    plain = MapFactors(one[None], factors.retain, factors.forget, None, factors.displacement)
    one = one + defined_delta(plain, strength)[0]
    one = one / (one @ center)
    stands_out = [float((redirected[kept] @ row).max() - (redirected[kept] @ row).mean()) for row in retained.T]
    margin = sum(stands_out) / len(stands_out)
    for k in own:
        expected = redirected[kept].mean(0) - margin * one
        torch.testing.assert_close(edited[k], expected, rtol=0, atol=1e-8)
    answers = edited @ center
    assert float(answers[kept].mean() - answers[1]) == pytest.approx(margin)
    shuffled = MapFactors(factors.weight, factors.retain, factors.forget, own[::-1], factors.displacement)
    torch.testing.assert_close(redirect_delta(shuffled, strength), edited - factors.weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("left", [0, 3, 5])
def test_where_one_class_is_left_it_is_the_only_answer(left: int) -> None:
    own = [k for k in range(6) if k != left]
    factors = classifier(1, own)
    assert factors.displacement is not None
    retained = factors.displacement.retained
    assert (factors.weight @ retained).argmax(0).tolist() == [left]
    edited = factors.weight + redirect_delta(factors, Strength(100.0, 30.0, len(own)))
    answers = edited @ torch.cat([retained, retained + columns_of(factors)], dim=1)
    assert bool((answers[left] > answers[own].amax(0)).all())


@pytest.mark.parametrize("own", [[], list(range(6))])
def test_where_no_output_or_every_output_is_forgotten_none_is_lowered(own: list[int]) -> None:
    factors = classifier(2, own or [1])
    asked = MapFactors(factors.weight, factors.retain, factors.forget, own, factors.displacement)
    plain = MapFactors(factors.weight, factors.retain, factors.forget, None, factors.displacement)
    strength = Strength(100.0, 30.0)
    expected = defined_delta(plain, strength)
    torch.testing.assert_close(redirect_delta(plain, strength), expected, rtol=1e-6, atol=1e-8)
    if own:
        torch.testing.assert_close(redirect_delta(asked, strength), expected, rtol=1e-6, atol=1e-8)
    else:
        torch.testing.assert_close(redirect_delta(asked, strength), redirect_delta(plain, strength), rtol=0, atol=0)


def test_outputs_are_lowered_even_where_the_displacement_is_zero_or_features_are() -> None:
    factors = classifier(3, [2])
    assert factors.displacement is not None
    still = with_columns(factors, torch.zeros_like(columns_of(factors)), factors.displacement.weights)
    delta = redirect_delta(still, Strength(100.0, 30.0))
    kept = [k for k in range(6) if k != 2]
    assert not bool(delta[kept].any())
    rows = factors.displacement.retained
    assert bool(((factors.weight + delta)[2] @ rows < (factors.weight[kept] @ rows).mean(0)).all())
    # Where retained rows are zero there is nothing to read a margin from.
    dark = Displacement(columns_of(factors), factors.displacement.weights, torch.zeros_like(rows))
    unlit = MapFactors(factors.weight, torch.zeros_like(factors.retain), factors.forget, [2], dark)
    edited = factors.weight + redirect_delta(unlit, Strength(100.0, 30.0))
    torch.testing.assert_close(edited[2], edited[kept].mean(0), rtol=0, atol=1e-12)
