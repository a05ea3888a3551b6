"""Linear CKA against HSIC written out with centring matrices, its invariances, and what the evaluator makes of it."""

import numpy as np
import pytest
from ledger.plugins.evaluators.similarity import SimilarityEvaluator, linear_cka
from scipy.stats import ortho_group

from ledger.hookspecs import Depth, EvaluationInput, NetworkRole, Outputs
from tests.fixtures.examined import MadeUpNetwork, examined

LABELS = np.repeat([0, 1, 2], 20)


def some(seed: int, images: int = 60, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 2, (images, width)).astype(np.float32)


def by_hsic(one: np.ndarray, other: np.ndarray) -> float:
    """Return CKA as Kornblith et al. define it: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), K and L Gram matrices."""
    n = len(one)
    centring = np.eye(n) - np.ones((n, n)) / n
    k, m = (features.astype(np.float64) @ features.astype(np.float64).T for features in (one, other))

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.trace(a @ centring @ b @ centring)) / (n - 1) ** 2

    return float(hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m)))


@pytest.mark.parametrize(("images", "widths"), [(60, (8, 8)), (60, (8, 3)), (5, (40, 30)), (2, (4, 4))])
def test_cka_is_hsic_of_centred_grams(images: int, widths: tuple[int, int]) -> None:
    one, other = some(1, images, widths[0]), some(2, images, widths[1])
    other[:, :2] += one[:, :2]
    assert linear_cka(one, other) == pytest.approx(by_hsic(one, other), rel=1e-9)
    assert linear_cka(one, other) == pytest.approx(linear_cka(other, one), rel=1e-9)


def test_rotations_shifts_and_one_scale_do_not_count_and_other_maps_do() -> None:
    one = some(3).astype(np.float64)
    rotation = ortho_group.rvs(8, random_state=0)
    assert linear_cka(one, one @ rotation * 7 + 3) == pytest.approx(1, abs=1e-12)
    stretched = one * np.array([20.0, *[1.0] * 7])
    assert (linear_cka(one, stretched) or 0) < 0.6


def test_unrelated_features_have_little_in_common_given_many_images() -> None:
    assert (linear_cka(some(4, 4000), some(5, 4000)) or 1) < 0.01
    # With fewer images than features even noise seems alike: the figure needs images.
    assert (linear_cka(some(4, 6, 64), some(5, 6, 64)) or 0) > 0.5


def test_features_that_do_not_vary_have_no_similarity() -> None:
    same = np.full((10, 3), 0.1, dtype=np.float32)
    assert linear_cka(same, some(6, 10)) is None
    assert linear_cka(same, same) is None
    assert linear_cka(np.zeros((10, 3)), some(6, 10)) is None
    assert linear_cka(some(6, 1), some(6, 1)) is None
    assert linear_cka(some(6, 0), some(6, 0)) is None


def network(features: np.ndarray | None) -> MadeUpNetwork:
    given = {} if features is None else {Depth.PENULTIMATE: (some(0), features)}
    return examined(features=given)


def evaluation(**features: np.ndarray | None) -> EvaluationInput:
    answers = Outputs(LABELS, np.full((len(LABELS), 3), 1 / 3))
    networks = {NetworkRole(role): network(one) for role, one in features.items()}
    return EvaluationInput(
        ("a", "b", "c"), frozenset({2}), answers, answers, answers, answers, seed=0, networks=networks
    )


def test_forgotten_and_retained_images_are_compared_apart() -> None:
    original, moved = some(7), some(7)
    moved[LABELS == 2] = some(8, 20)
    found = SimilarityEvaluator().evaluate(evaluation(version=moved, original=original, retrained=moved))
    assert found["cka_retained_original"] == pytest.approx(1)
    assert found["cka_forgotten_original"] == pytest.approx(by_hsic(moved[40:], original[40:]))
    assert found["cka_forgotten_original"] < 0.6
    assert found["cka_forgotten_retrained"] == pytest.approx(1)
    assert (found["cka_forgotten_images"], found["cka_retained_images"]) == (20, 40)
    last = found["depths"]["penultimate"]
    assert last["original"]["forgotten"] == found["cka_forgotten_original"]
    assert found["depths"]["one_third"]["original"] == {"forgotten": None, "retained": None}


def test_what_is_not_there_is_not_compared() -> None:
    found = SimilarityEvaluator().evaluate(evaluation(version=some(9), original=None))
    assert {
        found[f"cka_{group}_{role}"] for group in ("forgotten", "retained") for role in ("original", "retrained")
    } == {None}
    assert "retrained" not in found["depths"]["penultimate"]
    assert SimilarityEvaluator().evaluate(evaluation())["depths"] == {}
    assert (SimilarityEvaluator.level, SimilarityEvaluator.by_default) == (3, False)
