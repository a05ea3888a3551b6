"""The edit of a weight by least squares against the dense float64 solution and the objective it is to minimise."""

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.algebra.least_squares import least_squares_delta
from ledger.algebra.map_factors import MapFactors
from ledger.algebra.spaces import Space, forget_weights, retain_weights, stack
from ledger.algebra.strength import Strength
from tests.unit.algebra.dense import directions, factor_of, normal, untruncated_space

ALPHAS = st.sampled_from([0.0, 0.5, 1.0, 3.0, 30.0, 1000.0])


def defined_weight(weight: Tensor, retain: Tensor, forget: Tensor, strength: Strength) -> Tensor:
    """Return ``W (alpha_r C_R + I) (alpha_r C_R + alpha_f C_F + I)^-1``."""
    protected = strength.alpha_r * retain @ retain.T + torch.eye(weight.shape[1], dtype=weight.dtype)
    whole = protected + strength.effective_alpha_f * forget @ forget.T
    solved: Tensor = torch.linalg.solve(whole, weight @ protected, left=False)
    return solved


def defined_classifier(factors: MapFactors, strength: Strength, own: list[int]) -> Tensor:
    """Return the weight whose forgotten outputs are asked for the others' mean, row by row.

    ``w' = (w (alpha_r C_R + I) + alpha_f m C_F) (alpha_r C_R + alpha_f C_F + I)^-1``.
    """
    weight = factors.weight
    mean = torch.stack([row for k, row in enumerate(weight) if k not in own]).mean(dim=0)
    forgotten = strength.effective_alpha_f * factors.forget @ factors.forget.T
    protected = strength.alpha_r * factors.retain @ factors.retain.T + torch.eye(weight.shape[1], dtype=weight.dtype)
    edited = weight.clone()
    for k in own:
        edited[k] = torch.linalg.solve(protected + forgotten, weight[k] @ protected + mean @ forgotten)
    return edited


def objective(edited: Tensor, factors: MapFactors, strength: Strength) -> Tensor:
    """Return what the edit minimises, from its three terms."""
    change = edited - factors.weight
    return (
        strength.alpha_r * (change @ factors.retain).square().sum()
        + strength.effective_alpha_f * (edited @ factors.forget).square().sum()
        + change.square().sum()
    )


def edited_weight(factors: MapFactors, strength: Strength) -> Tensor:
    return factors.weight + least_squares_delta(factors, strength)


def random_factors(seed: int, *, width: int = 9, retained: int = 6, forgotten: int = 4) -> MapFactors:
    return MapFactors(
        normal(5, width, seed=seed),
        factor_of(normal(retained, width, seed=seed + 1)),
        factor_of(normal(forgotten, width, seed=seed + 2)),
    )


@given(
    out=st.integers(1, 6),
    width=st.integers(1, 16),
    retained=st.integers(0, 24),
    forgotten=st.integers(0, 24),
    alpha_r=ALPHAS,
    alpha_f=ALPHAS,
    classes=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_the_edit_equals_its_definition(
    out: int,
    width: int,
    retained: int,
    forgotten: int,
    alpha_r: float,
    alpha_f: float,
    classes: int,
    seed: int,
) -> None:
    """At any rank, 0 and beyond the width included."""
    weight = normal(out, width, seed=seed)
    retain, forget = normal(width, retained, seed=seed + 1), normal(width, forgotten, seed=seed + 2)
    retain, forget = (f / f.norm().clamp_min(1e-9) for f in (retain, forget))
    strength = Strength(alpha_r, alpha_f, classes)
    delta = least_squares_delta(MapFactors(weight, retain, forget), strength)
    assert delta.shape == weight.shape
    # Inverses of matrices of condition up to alpha, 5,000 here: 1e-16 * 5e3, with room for the sums.
    torch.testing.assert_close(weight + delta, defined_weight(weight, retain, forget, strength), rtol=0, atol=1e-10)


@given(width=st.integers(2, 12), alpha_r=ALPHAS, alpha_f=ALPHAS, seed=st.integers(0, 2**16))
def test_float32_stays_close_to_the_definition(width: int, alpha_r: float, alpha_f: float, seed: int) -> None:
    factors = random_factors(seed, width=width, retained=20, forgotten=20)
    rounded = MapFactors(factors.weight.float(), factors.retain.float(), factors.forget.float())
    strength = Strength(alpha_r, alpha_f)
    delta = least_squares_delta(rounded, strength)
    assert delta.dtype == torch.float32
    expected = defined_weight(factors.weight, factors.retain, factors.forget, strength) - factors.weight
    # What protection leaves is a difference of float32 values, times alpha: 6e-8 * 1,000, with room for the sums.
    torch.testing.assert_close(delta, expected.float(), rtol=0, atol=5e-4 * float(factors.weight.norm()))


def test_the_whole_way_from_rows_to_delta_equals_the_definition() -> None:
    """Accumulated class spaces of three retained and two forgotten classes, summed by their weights."""
    width = 10
    rows = [normal(30, width, seed=k) * (1 + k) for k in range(5)]
    spaces = [untruncated_space(own) for own in rows]
    weight = normal(5, width, seed=9)
    factors = MapFactors(
        weight.float(),
        stack(spaces[:3], retain_weights(spaces[:3])),
        stack(spaces[3:], forget_weights(spaces[3:])),
    )
    strength = Strength(30.0, 10.0, classes=2)
    # All retained rows together; each forgotten class as it would be alone.
    forget = torch.cat([factor_of(own) for own in rows[3:]], dim=1) / 2**0.5
    expected = defined_weight(weight, factor_of(torch.cat(rows[:3])), forget, strength) - weight
    assert float(expected.norm()) > 0.1
    # Spaces and products are float32.
    torch.testing.assert_close(least_squares_delta(factors, strength), expected.float(), rtol=0, atol=2e-5)


@given(alpha_r=ALPHAS, alpha_f=ALPHAS, classes=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_the_edited_weight_is_where_the_objective_is_smallest(
    alpha_r: float, alpha_f: float, classes: int, seed: int
) -> None:
    factors, strength = random_factors(seed), Strength(alpha_r, alpha_f, classes)
    edited = edited_weight(factors, strength).requires_grad_()
    value = objective(edited, factors, strength)
    (slope,) = torch.autograd.grad(value, edited)
    # Terms of order alpha cancel: 1e-16 * 3,000, with room for the sums.
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-9)
    with torch.no_grad():
        # Strictly convex: any step away costs at least its squared length.
        step = normal(*factors.weight.shape, seed=seed + 3) * 0.1
        assert float(objective(edited + step, factors, strength) - value) >= 0.999 * float(step.square().sum())
        assert float(value) <= float(objective(factors.weight, factors, strength))


def test_a_forget_alpha_of_zero_changes_nothing() -> None:
    factors = random_factors(0)
    delta = least_squares_delta(factors, Strength(100.0, 0.0))
    torch.testing.assert_close(delta, torch.zeros(5, 9, dtype=torch.float64), rtol=0, atol=0)


@pytest.mark.parametrize("alpha_f", [0.5, 10.0, 1e6])
def test_directions_of_the_forget_space_alone_are_shrunk_by_their_energy(alpha_f: float) -> None:
    basis = directions(9, 6, seed=5)
    retain, own = basis[:, :4] / 2.0, basis[:, 4:]
    energies = torch.tensor([0.8, 0.2], dtype=torch.float64)
    factors = MapFactors(normal(3, 9), retain, own * energies.sqrt())
    edited = edited_weight(factors, Strength(100.0, alpha_f))
    torch.testing.assert_close(
        edited @ own, factors.weight @ own / (alpha_f * energies + 1), rtol=1e-9, atol=1e-12 + alpha_f * 1e-15
    )
    # The retained directions are orthogonal to them, and stay as they are.
    torch.testing.assert_close(edited @ retain, factors.weight @ retain, rtol=0, atol=1e-12 + alpha_f * 1e-15)


@pytest.mark.parametrize(("alpha_r", "alpha_f"), [(3.0, 3.0), (1000.0, 10.0), (10.0, 1000.0)])
def test_a_shared_direction_is_weighed_by_both_of_its_energies(alpha_r: float, alpha_f: float) -> None:
    basis = directions(7, 2, seed=8)
    retained, forgotten = (torch.tensor(e, dtype=torch.float64) for e in ([0.9, 0.1], [0.25, 0.75]))
    factors = MapFactors(normal(3, 7), basis * retained.sqrt(), basis * forgotten.sqrt())
    kept = (alpha_r * retained + 1) / (alpha_r * retained + alpha_f * forgotten + 1)
    edited = edited_weight(factors, Strength(alpha_r, alpha_f))
    torch.testing.assert_close(edited @ basis, (factors.weight @ basis) * kept, rtol=1e-9, atol=1e-12)


def test_retained_rows_orthogonal_to_the_forgotten_ones_are_answered_as_before() -> None:
    """The sanity pair: outputs on forgotten rows fall to almost nothing from a level well above it."""
    basis = directions(12, 5, seed=7)
    forgotten_rows, retained_rows = normal(50, 2) @ basis[:, :2].T, normal(50, 3, seed=1) @ basis[:, 2:].T
    factors = MapFactors(normal(4, 12), factor_of(retained_rows), factor_of(forgotten_rows))
    edited = edited_weight(factors, Strength(100.0, 1e4))
    before, after = (forgotten_rows @ w.T for w in (factors.weight, edited))
    assert float(before.norm()) > 5
    assert float(after.norm()) < 1e-3 * float(before.norm())
    # Entries of several units, and what alpha_f = 1e4 multiplies of their rounding.
    torch.testing.assert_close(retained_rows @ edited.T, retained_rows @ factors.weight.T, rtol=1e-9, atol=1e-9)


def test_inputs_outside_both_spaces_are_never_affected() -> None:
    basis = directions(8, 8, seed=3)
    inside, outside = basis[:, :4], basis[:, 4:]
    factors = MapFactors(
        normal(5, 8), inside @ factor_of(normal(6, 4, seed=4)), inside @ factor_of(normal(2, 4, seed=5))
    )
    delta = least_squares_delta(factors, Strength(3.0, 1000.0))
    assert float(delta.norm()) > 0.1
    torch.testing.assert_close(delta @ outside, torch.zeros(5, 4, dtype=torch.float64), rtol=0, atol=1e-12)


@given(
    alphas=st.lists(st.floats(0.0, 1e4), min_size=2, max_size=2).map(sorted),
    alpha_r=ALPHAS,
    seed=st.integers(0, 2**16),
)
def test_a_larger_forget_alpha_leaves_less_of_every_output_on_the_forget_space(
    alphas: list[float], alpha_r: float, seed: int
) -> None:
    factors = random_factors(seed)
    less, more = ((edited_weight(factors, Strength(alpha_r, a)) @ factors.forget).norm(dim=1) for a in alphas)
    # The margin is rounding.
    assert bool((more <= less * (1 + 1e-9) + 1e-12).all())


@given(
    alphas=st.lists(st.floats(0.0, 1e4), min_size=2, max_size=2).map(sorted),
    alpha_f=ALPHAS,
    seed=st.integers(0, 2**16),
)
def test_a_larger_retain_alpha_changes_less_of_every_output_on_the_retain_space(
    alphas: list[float], alpha_f: float, seed: int
) -> None:
    factors = random_factors(seed)
    more, less = ((least_squares_delta(factors, Strength(a, alpha_f)) @ factors.retain).norm(dim=1) for a in alphas)
    # The margin is rounding.
    assert bool((less <= more * (1 + 1e-9) + 1e-12).all())


def test_retained_outputs_are_kept_in_the_limit() -> None:
    """Whatever the angle between the spaces: a tenfold retain alpha leaves a tenth of the change."""
    factors = random_factors(4, retained=3)
    weak, strong, stronger = (
        float((least_squares_delta(factors, Strength(alpha, 100.0)) @ factors.retain).norm())
        for alpha in (1.0, 1e5, 1e6)
    )
    assert weak > 0.1
    assert strong < 1e-2 * weak
    torch.testing.assert_close(stronger, strong / 10, rtol=0.01, atol=0)
    # ... while the forgotten rows' own directions are still removed.
    left = (edited_weight(factors, Strength(1e6, 100.0)) @ factors.forget).norm()
    assert float(left) < 0.7 * float(factors.weight_forget.norm())


@given(count=st.integers(2, 5), order=st.randoms(use_true_random=False), seed=st.integers(0, 2**16))
def test_the_order_of_summed_spaces_does_not_matter(count: int, order: Random, seed: int) -> None:
    """A permutation of classes permutes columns; sums of them differ by rounding alone."""
    width = 30
    spaces = [
        Space(normal(width, 3, seed=seed + k).float() / 10, rows=3, trace=1.0 + k, error_bound=0.0)
        for k in range(2 * count)
    ]
    retained, forgotten = spaces[:count], spaces[count:]
    weight = normal(4, width, seed=seed + 20)

    def edited(retained: list[Space], forgotten: list[Space]) -> Tensor:
        retain, forget = (
            stack(retained, retain_weights(retained)).double(),
            stack(forgotten, forget_weights(forgotten)).double(),
        )
        return edited_weight(MapFactors(weight, retain, forget), Strength(30.0, 10.0, len(forgotten)))

    first = edited(retained, forgotten)
    order.shuffle(retained)
    order.shuffle(forgotten)
    torch.testing.assert_close(edited(retained, forgotten), first, rtol=0, atol=1e-12)


def test_one_class_after_another_is_both_at_once() -> None:
    """Only the sum of what is forgotten enters: a class may join through the same formula."""
    width = 8
    retain, first, second = (factor_of(normal(3, width, seed=k)) for k in range(3))
    weight, strength = normal(4, width, seed=5), Strength(10.0, 30.0)
    joint = edited_weight(
        MapFactors(weight, retain, torch.cat([first, second], dim=1) / 2**0.5), Strength(10.0, 30.0, classes=2)
    )
    alone = edited_weight(MapFactors(weight, retain, first), strength)
    # The second edit protects what the first one's objective held: A' = alpha_r C_R + alpha_f C_1 + I.
    held = torch.cat([10.0**0.5 * retain, 30.0**0.5 * first], dim=1)
    then = edited_weight(MapFactors(alone, held, second), Strength(1.0, 30.0))
    torch.testing.assert_close(then, joint, rtol=0, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 5, 10])
@pytest.mark.parametrize("alpha_f", [3.0, 30.0, 100.0])
def test_disjoint_classes_forgotten_together_are_each_forgotten_as_alone(classes: int, alpha_f: float) -> None:
    """Unlike importance scaling, which allows for a factor of ``alpha / (alpha + 1)``, this is exact."""
    width = 2 * classes + 4
    basis = directions(width, width, seed=6)
    energies = torch.tensor([0.7, 0.3], dtype=torch.float64)
    own = [basis[:, 2 * k : 2 * k + 2] * energies.sqrt() for k in range(classes)]
    retain = basis[:, 2 * classes :] / 2.0
    weight = normal(4, width)
    mean = torch.cat(own, dim=1) / classes**0.5
    joint = least_squares_delta(MapFactors(weight, retain, mean), Strength(100.0, alpha_f, classes))
    alone = [least_squares_delta(MapFactors(weight, retain, one), Strength(100.0, alpha_f)) for one in own]
    for k, delta in enumerate(alone):
        its = basis[:, 2 * k : 2 * k + 2]
        assert float((delta @ its).norm()) > 0.3 * float((weight @ its).norm())
        torch.testing.assert_close(joint @ its, delta @ its, rtol=0, atol=1e-11)
    torch.testing.assert_close(joint, torch.stack(alone).sum(dim=0), rtol=0, atol=1e-11)
    unscaled = least_squares_delta(MapFactors(weight, retain, mean), Strength(100.0, alpha_f))
    assert float(unscaled.norm()) < float(joint.norm())


def test_how_the_factor_is_rotated_does_not_matter() -> None:
    factors, strength = random_factors(2), Strength(100.0, 3.0)
    turned = MapFactors(factors.weight, factors.retain @ directions(6, 6), factors.forget @ directions(4, 4))
    torch.testing.assert_close(
        least_squares_delta(turned, strength), least_squares_delta(factors, strength), rtol=1e-9, atol=1e-12
    )


def test_a_grid_of_alphas_gives_the_same_bits_in_any_order() -> None:
    weight, retain, forget = torch.randn(3, 6), torch.randn(6, 4) / 5, torch.randn(6, 3) / 5
    grid = [Strength(r, f) for r in (10.0, 100.0) for f in (3.0, 30.0)]
    forwards, backwards = (MapFactors(weight, retain, forget) for _ in range(2))
    found = {strength: least_squares_delta(forwards, strength) for strength in grid}
    for strength in reversed(grid):
        assert torch.equal(least_squares_delta(backwards, strength), found[strength])
        assert torch.equal(least_squares_delta(MapFactors(weight, retain, forget), strength), found[strength])
    assert len({found[strength].sum().item() for strength in grid}) == len(grid)


def test_the_factors_are_not_changed() -> None:
    factors = random_factors(3)
    before = [factors.weight.clone(), factors.retain.clone(), factors.forget.clone()]
    least_squares_delta(factors, Strength(10.0, 3.0))
    assert all(torch.equal(a, b) for a, b in zip((factors.weight, factors.retain, factors.forget), before, strict=True))


def test_nothing_to_forget_changes_nothing_and_nothing_to_retain_protects_nothing() -> None:
    weight, some, none = torch.randn(3, 6), torch.randn(6, 2) / 3, Space.empty(6).factor
    strength = Strength(10.0, 3.0)
    for retain in (some, none):
        delta = least_squares_delta(MapFactors(weight, retain, none), strength)
        torch.testing.assert_close(delta, torch.zeros(3, 6), rtol=0, atol=0)
    unprotected = edited_weight(MapFactors(weight, none, some), strength)
    expected = defined_weight(weight.double(), none.double(), some.double(), strength)
    # One float32 product.
    torch.testing.assert_close(unprotected, expected.float(), rtol=1e-5, atol=1e-5)


def classifier(factors: MapFactors, own: list[int]) -> MapFactors:
    """Return the same map, some of whose outputs belong to forgotten classes."""
    return MapFactors(factors.weight, factors.retain, factors.forget, own)


@given(
    own=st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True),
    alpha_r=ALPHAS,
    alpha_f=ALPHAS,
    seed=st.integers(0, 2**16),
)
def test_forgotten_outputs_of_the_classifier_are_asked_for_the_mean_of_the_others(
    own: list[int], alpha_r: float, alpha_f: float, seed: int
) -> None:
    factors, strength = random_factors(seed), Strength(alpha_r, alpha_f, len(own))
    delta = least_squares_delta(classifier(factors, own), strength)
    others = [k for k in range(5) if k not in own]
    assert not bool(delta[others].any())
    expected = defined_classifier(factors, strength, own)
    # Inverses of matrices of condition up to alpha, 4,000 here: 1e-16 * 4e3, with room for the sums.
    torch.testing.assert_close(factors.weight + delta, expected, rtol=0, atol=1e-10)
    shuffled = least_squares_delta(classifier(factors, own[::-1]), strength)
    torch.testing.assert_close(shuffled, delta, rtol=0, atol=1e-12)


def test_forgotten_outputs_end_where_the_others_are_and_retained_rows_are_answered_as_before() -> None:
    """The sanity pair: on forgotten rows the class's output stood out, and then it equals the others' mean."""
    basis = directions(12, 5, seed=7)
    forgotten_rows, retained_rows = normal(50, 2) @ basis[:, :2].T, normal(50, 3, seed=1) @ basis[:, 2:].T
    factors = MapFactors(normal(4, 12), factor_of(retained_rows), factor_of(forgotten_rows), [2])
    edited = edited_weight(factors, Strength(100.0, 1e6))
    others = (forgotten_rows @ factors.weight[[0, 1, 3]].T).mean(dim=1)
    before, after = (forgotten_rows @ w[2] - others for w in (factors.weight, edited))
    assert float(before.norm()) > 5
    assert float(after.norm()) < 1e-4 * float(before.norm())
    # What alpha_f = 1e6 multiplies of the rounding of entries of several units.
    torch.testing.assert_close(retained_rows @ edited.T, retained_rows @ factors.weight.T, rtol=1e-9, atol=1e-8)


def test_a_classifier_without_forgotten_outputs_or_with_a_forget_alpha_of_zero_stays() -> None:
    factors = random_factors(0)
    assert not bool(least_squares_delta(classifier(factors, []), Strength(10.0, 10.0)).any())
    assert not bool(least_squares_delta(classifier(factors, [1]), Strength(10.0, 0.0)).any())


def test_a_classifier_is_edited_in_its_own_dtype() -> None:
    factors = random_factors(1)
    rounded = MapFactors(factors.weight.float(), factors.retain.float(), factors.forget.float(), [0, 3])
    delta = least_squares_delta(rounded, Strength(30.0, 10.0, 2))
    assert delta.dtype == torch.float32
    expected = defined_classifier(factors, Strength(30.0, 10.0, 2), [0, 3]) - factors.weight
    # Float32 products of entries of a few units, times alpha.
    torch.testing.assert_close(delta, expected.float(), rtol=0, atol=2e-4)
