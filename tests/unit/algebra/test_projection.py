"""The edit of a weight against its definition: a dense float64 SVD of the activations.

Source: Kodge, Saha, Roy, arXiv 2312.00761, section 4.
"""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.algebra.map_factors import MapFactors
from ledger.algebra.projection import projection_delta
from ledger.algebra.spaces import Space, forget_weights, retain_weights, stack
from ledger.algebra.strength import Strength
from tests.unit.algebra.dense import directions, factor_of, normal, untruncated_space

ALPHAS = st.sampled_from([1.0, 1.5, 3.0, 30.0, 1000.0])


def defined_projection(rows: Tensor, alpha: float) -> Tensor:
    """Return ``U diag(lambda) U^T`` from the SVD of the activations."""
    u, sigma, _ = torch.linalg.svd(rows.T, full_matrices=False)
    energies = sigma.square() / sigma.square().sum()
    projection: Tensor = u * (alpha * energies / ((alpha - 1) * energies + 1)) @ u.T
    return projection


def scaled_projection(factor: Tensor, alpha: float) -> Tensor:
    """Return ``P`` of a forget space: what the edit of an identity takes away where nothing is retained."""
    width = factor.shape[0]
    nothing = factor.new_zeros(width, 0)
    identity = torch.eye(width, dtype=factor.dtype)
    return -projection_delta(MapFactors(identity, nothing, factor), Strength(1.0, alpha))


def protecting_projection(factor: Tensor, alpha: float) -> Tensor:
    """Return ``P`` of a retain space: what it leaves of the edit of an identity by the projector on everything."""
    width = factor.shape[0]
    identity = torch.eye(width, dtype=factor.dtype)
    # At alpha 1 the forget space I / i has the projection I / i.
    delta = projection_delta(MapFactors(identity, factor, identity / width**0.5), Strength(alpha, 1.0))
    return identity + width * delta


def defined_delta(weight: Tensor, retain: Tensor, forget: Tensor, strength: Strength) -> Tensor:
    identity = torch.eye(weight.shape[1], dtype=torch.float64)
    p_r = defined_projection(retain, strength.alpha_r)
    p_f = defined_projection(forget, strength.effective_alpha_f)
    p_dis = p_f @ (identity - p_r)
    return weight @ (identity - p_dis).T - weight


@given(
    out=st.integers(1, 6),
    width=st.integers(1, 16),
    retained=st.integers(1, 24),
    forgotten=st.integers(1, 24),
    alpha_r=ALPHAS,
    alpha_f=ALPHAS,
    classes=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_delta_equals_its_definition(
    out: int,
    width: int,
    retained: int,
    forgotten: int,
    alpha_r: float,
    alpha_f: float,
    classes: int,
    seed: int,
) -> None:
    weight = normal(out, width, seed=seed)
    retain, forget = normal(retained, width, seed=seed + 1), normal(forgotten, width, seed=seed + 2)
    strength = Strength(alpha_r, alpha_f, classes)
    delta = projection_delta(MapFactors(weight, factor_of(retain), factor_of(forget)), strength)
    assert delta.shape == weight.shape
    # Inverses of matrices of condition up to alpha, 5,000 here: 1e-16 * 5e3, with room for the sums.
    torch.testing.assert_close(delta, defined_delta(weight, retain, forget, strength), rtol=0, atol=1e-10)


@given(width=st.integers(2, 12), alpha_r=ALPHAS, alpha_f=ALPHAS, seed=st.integers(0, 2**16))
def test_float32_stays_close_to_the_definition(width: int, alpha_r: float, alpha_f: float, seed: int) -> None:
    weight = normal(4, width, seed=seed)
    retain, forget = normal(20, width, seed=seed + 1), normal(20, width, seed=seed + 2)
    strength = Strength(alpha_r, alpha_f)
    factors = MapFactors(weight.float(), factor_of(retain).float(), factor_of(forget).float())
    delta = projection_delta(factors, strength)
    assert delta.dtype == torch.float32
    # Two float32 products of entries of order alpha * s: a few hundred roundings of 6e-8 at most.
    torch.testing.assert_close(
        delta, defined_delta(weight, retain, forget, strength).float(), rtol=0, atol=5e-4 * float(weight.norm())
    )


def test_the_whole_way_from_rows_to_delta_equals_the_definition() -> None:
    """Accumulated class spaces of three retained and one forgotten class, summed by their weights."""
    width = 10
    rows = [normal(30, width, seed=k) * (1 + k) for k in range(4)]
    spaces = [untruncated_space(own) for own in rows]
    weight = normal(5, width, seed=9)
    factors = MapFactors(
        weight.float(),
        stack(spaces[:3], retain_weights(spaces[:3])),
        stack(spaces[3:], forget_weights(spaces[3:])),
    )
    strength = Strength(30.0, 10.0)
    expected = defined_delta(weight, torch.cat(rows[:3]), rows[3], strength)
    assert float(expected.norm()) > 0.1
    # Spaces and products are float32.
    torch.testing.assert_close(projection_delta(factors, strength), expected.float(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("projection_of", [scaled_projection, protecting_projection])
@given(rank=st.integers(1, 10), width=st.integers(10, 14), alpha=ALPHAS, seed=st.integers(0, 2**16))
def test_either_projection_is_the_scaled_spectrum(
    projection_of: Callable[[Tensor, float], Tensor], rank: int, width: int, alpha: float, seed: int
) -> None:
    rows = normal(rank, width, seed=seed)
    projection = projection_of(factor_of(rows), alpha)
    # One inverse of condition up to alpha, 1,000 here: 1e-16 * 1e3, with room for the sums.
    torch.testing.assert_close(projection, defined_projection(rows, alpha), rtol=0, atol=1e-11)
    values = torch.linalg.eigvalsh(projection)
    # Shares between nothing and everything; the margin is rounding.
    assert float(values[0]) >= -1e-12
    assert float(values[-1]) <= 1 + 1e-12


@pytest.mark.parametrize("projection_of", [scaled_projection, protecting_projection])
def test_a_projection_at_alpha_one_is_the_space_itself(projection_of: Callable[[Tensor, float], Tensor]) -> None:
    factor = factor_of(normal(4, 7))
    torch.testing.assert_close(projection_of(factor, 1.0), factor @ factor.T)


@pytest.mark.parametrize("projection_of", [scaled_projection, protecting_projection])
def test_importance_grows_with_alpha_towards_a_projector(projection_of: Callable[[Tensor, float], Tensor]) -> None:
    basis = directions(6, 3)
    factor = basis * torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).sqrt()
    shares = [(basis.T @ projection_of(factor, alpha) @ basis).diagonal() for alpha in (1.0, 10.0, 1e3, 1e9)]
    assert all(bool((a < b).all()) for a, b in pairwise(shares))
    # lambda = 1 - (1 - s) / (alpha s) to first order, 1e-8 for the weakest direction; rounding of alpha * 1e-16.
    torch.testing.assert_close(shares[-1], torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-7)


@given(
    alphas=st.lists(st.floats(1.0, 1e4), min_size=2, max_size=2).map(sorted),
    kept=ALPHAS,
    seed=st.integers(0, 2**16),
)
def test_a_larger_forget_alpha_takes_more_and_a_larger_retain_alpha_protects_more(
    alphas: list[float], kept: float, seed: int
) -> None:
    """On directions that both spaces share, each with its own energy in each of them."""
    basis = directions(8, 4, seed)
    energies = normal(2, 4, seed=seed + 1).square() + 0.01
    retain, forget = (basis * (e / e.sum()).sqrt() for e in energies)
    factors = MapFactors(torch.eye(8, dtype=torch.float64), retain, forget)

    def taken(strength: Strength) -> Tensor:
        shares: Tensor = -(basis.T @ projection_delta(factors, strength) @ basis).diagonal()
        return shares

    # The margin is rounding.
    assert bool((taken(Strength(kept, alphas[0])) <= taken(Strength(kept, alphas[1])) + 1e-11).all())
    assert bool((taken(Strength(alphas[0], kept)) >= taken(Strength(alphas[1], kept)) - 1e-11).all())


def test_how_the_factor_is_rotated_does_not_matter() -> None:
    weight, retain, forget = normal(4, 9), factor_of(normal(5, 9, seed=1)), factor_of(normal(6, 9, seed=2))
    turned = MapFactors(weight, retain @ directions(5, 5), forget @ directions(6, 6))
    strength = Strength(100.0, 3.0)
    torch.testing.assert_close(
        projection_delta(turned, strength),
        projection_delta(MapFactors(weight, retain, forget), strength),
        rtol=1e-9,
        atol=1e-12,
    )


def test_directions_of_the_retain_space_are_protected_in_the_limit() -> None:
    """A forgotten direction that retained classes use as well is left alone; one of its own is removed."""
    basis = directions(8, 4)
    shared, own = basis[:, :1], basis[:, 1:2]
    retain = torch.cat([shared, basis[:, 2:]], dim=1) / 3**0.5
    forget = torch.cat([shared, own], dim=1) / 2**0.5
    weight = normal(5, 8)
    factors = MapFactors(weight, retain, forget)
    weak, strong = projection_delta(factors, Strength(1.0, 1e9)), projection_delta(factors, Strength(1e9, 1e9))
    assert float((weak @ shared).norm()) > 0.5 * float((weight @ shared).norm())
    # 1e-9 / s away from the limit.
    torch.testing.assert_close(strong @ shared, torch.zeros_like(weight[:, :1]), rtol=0, atol=1e-7)
    torch.testing.assert_close(strong @ retain, torch.zeros_like(weight[:, :3]), rtol=0, atol=1e-7)
    torch.testing.assert_close(strong @ own, -weight @ own, rtol=0, atol=1e-7)


def test_weights_that_read_the_retain_space_alone_are_protected_in_the_limit() -> None:
    """Whatever the angle between the spaces: ``W (I - P_r)`` is all that the edit may take from."""
    retained = directions(8, 3, seed=1)
    weight = normal(5, 3) @ retained.T
    factors = MapFactors(weight, retained / 3**0.5, factor_of(normal(4, 8, seed=2)))
    assert float(projection_delta(factors, Strength(1.0, 100.0)).norm()) > 0.1 * float(weight.norm())
    torch.testing.assert_close(
        projection_delta(factors, Strength(1e9, 100.0)), torch.zeros_like(weight), rtol=0, atol=1e-6
    )


def test_inputs_outside_the_forget_space_are_never_affected() -> None:
    basis = directions(8, 8, seed=3)
    forget, outside = basis[:, :3] / 3**0.5, basis[:, 3:]
    factors = MapFactors(normal(5, 8), factor_of(normal(6, 8, seed=4)), forget)
    delta = projection_delta(factors, Strength(3.0, 1000.0))
    assert float(delta.norm()) > 0.1
    torch.testing.assert_close(delta @ outside, torch.zeros(5, 5, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("alpha_f", [1.0, 10.0, 1e6])
def test_directions_of_the_forget_space_alone_are_removed_by_their_importance(alpha_f: float) -> None:
    basis = directions(9, 6, seed=5)
    retain, own = basis[:, :4] / 2.0, basis[:, 4:]
    energies = torch.tensor([0.8, 0.2], dtype=torch.float64)
    weight = normal(3, 9)
    delta = projection_delta(MapFactors(weight, retain, own * energies.sqrt()), Strength(100.0, alpha_f))
    removed = alpha_f * energies / ((alpha_f - 1) * energies + 1)
    torch.testing.assert_close((weight + delta) @ own, (weight @ own) * (1 - removed), rtol=0, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 5, 10])
@pytest.mark.parametrize("alpha_f", [3.0, 30.0, 100.0])
def test_classes_forgotten_together_are_forgotten_as_thoroughly_as_alone(classes: int, alpha_f: float) -> None:
    """Orthogonal classes, two directions each: what one class loses jointly against what it loses alone.

    Scaling alpha by the number of classes k keeps ``alpha s``; in the denominator ``1 - s / k`` stands
    for ``1 - s``, which costs a factor of ``alpha / (alpha + 1)`` at worst.
    """
    width = 2 * classes + 4
    basis = directions(width, width, seed=6)
    energies = torch.tensor([0.7, 0.3], dtype=torch.float64)
    own = [basis[:, 2 * k : 2 * k + 2] * energies.sqrt() for k in range(classes)]
    retain = basis[:, 2 * classes :] / 2.0
    weight = normal(4, width)
    joint_space = torch.cat(own, dim=1) / classes**0.5

    def removed(factors: MapFactors, strength: Strength) -> Tensor:
        directions_of_one = basis[:, :2]
        taken = (projection_delta(factors, strength) @ directions_of_one).norm(dim=0)
        share: Tensor = taken / (weight @ directions_of_one).norm(dim=0)
        return share

    alone = removed(MapFactors(weight, retain, own[0]), Strength(100.0, alpha_f))
    joint = removed(MapFactors(weight, retain, joint_space), Strength(100.0, alpha_f, classes))
    unscaled = removed(MapFactors(weight, retain, joint_space), Strength(100.0, alpha_f))
    share = energies / classes
    expected = alpha_f * energies / ((alpha_f * classes - 1) * share + 1)
    torch.testing.assert_close(joint, expected, rtol=1e-9, atol=0)
    assert bool((joint / alone >= alpha_f / (alpha_f + 1)).all())
    assert bool((unscaled < joint).all())


def test_a_class_that_was_forgotten_had_been_read_before() -> None:
    """The sanity pair: outputs on forgotten rows fall to almost nothing from a level well above it."""
    basis = directions(12, 5, seed=7)
    forgotten_rows, retained_rows = normal(50, 2) @ basis[:, :2].T, normal(50, 3, seed=1) @ basis[:, 2:].T
    weight = normal(4, 12)
    edited = weight + projection_delta(
        MapFactors(weight, factor_of(retained_rows), factor_of(forgotten_rows)), Strength(100.0, 1e4)
    )
    before, after = (forgotten_rows @ w.T for w in (weight, edited))
    assert float(before.norm()) > 5
    assert float(after.norm()) < 1e-3 * float(before.norm())
    torch.testing.assert_close(retained_rows @ edited.T, retained_rows @ weight.T, rtol=1e-9, atol=1e-12)


def test_a_grid_of_alphas_gives_the_same_bits_in_any_order() -> None:
    weight, retain, forget = torch.randn(3, 6), torch.randn(6, 4) / 5, torch.randn(6, 3) / 5
    grid = [Strength(r, f) for r in (10.0, 100.0) for f in (3.0, 30.0)]
    forwards, backwards = (MapFactors(weight, retain, forget) for _ in range(2))
    found = {strength: projection_delta(forwards, strength) for strength in grid}
    for strength in reversed(grid):
        assert torch.equal(projection_delta(backwards, strength), found[strength])
        assert torch.equal(projection_delta(MapFactors(weight, retain, forget), strength), found[strength])
    assert len({found[strength].sum().item() for strength in grid}) == len(grid)


def test_the_weight_is_not_changed() -> None:
    weight = torch.randn(3, 6)
    before = weight.clone()
    projection_delta(MapFactors(weight, torch.randn(6, 2) / 3, torch.randn(6, 2) / 3), Strength(10.0, 3.0))
    assert torch.equal(weight, before)


def test_nothing_to_forget_changes_nothing_and_nothing_to_retain_protects_nothing() -> None:
    weight, some, none = torch.randn(3, 6), torch.randn(6, 2) / 3, Space.empty(6).factor
    strength = Strength(10.0, 3.0)
    torch.testing.assert_close(
        projection_delta(MapFactors(weight, some, none), strength), torch.zeros(3, 6), rtol=0, atol=0
    )
    unprotected = projection_delta(MapFactors(weight, none, some), strength)
    energies = some.double() @ some.double().T
    scaled = 3.0 * energies @ torch.linalg.inv(2.0 * energies + torch.eye(6, dtype=torch.float64))
    expected = -weight.double() @ scaled
    # One float32 product.
    torch.testing.assert_close(unprotected, expected.float(), rtol=1e-5, atol=1e-5)
