"""The evaluator ``divergence`` against scipy, and on answers whose distances are known."""

from dataclasses import replace

import numpy as np
import pytest
from ledger.plugins.evaluators.divergence import (
    DivergenceEvaluator,
    divergences,
    jensen_shannon,
    kullback_leibler,
    total_variation,
)
from scipy.spatial import distance
from scipy.special import rel_entr

from ledger.hookspecs import EvaluationInput, NetworkRole, Outputs
from tests.fixtures.examined import examined

LABELS = np.array([0, 1, 2, 2, 3, 3, 3])


def some(seed: int, classes: int = 4) -> Outputs:
    return Outputs(LABELS, np.random.default_rng(seed).dirichlet(np.full(classes, 0.4), len(LABELS)))


def test_each_divergence_is_scipy_s() -> None:
    one, other = some(1).probabilities, some(2).probabilities
    for found, p, q in zip(kullback_leibler(one, other), one, other, strict=True):
        assert found == pytest.approx(rel_entr(p, q).sum(), rel=1e-9)
    for found, p, q in zip(jensen_shannon(one, other), one, other, strict=True):
        assert found == pytest.approx(distance.jensenshannon(p, q) ** 2, rel=1e-9)
    for found, p, q in zip(total_variation(one, other), one, other, strict=True):
        assert found == pytest.approx(distance.minkowski(p, q, 1) / 2, rel=1e-12)


def test_the_same_answers_are_no_distance_apart_and_disjoint_ones_the_largest() -> None:
    left, right = np.array([[0.5, 0.5, 0.0, 0.0]]), np.array([[0.0, 0.0, 0.25, 0.75]])
    assert [float(f(left, left)[0]) for f in (kullback_leibler, jensen_shannon, total_variation)] == [0, 0, 0]
    assert total_variation(left, right)[0] == 1
    assert jensen_shannon(left, right)[0] == pytest.approx(np.log(2))
    # No share at all counts as 1e-12.
    assert kullback_leibler(left, right)[0] == pytest.approx(-np.log(2) + 12 * np.log(10))


@pytest.mark.parametrize("least", [5e-324, 1e-310, 1e-200])
def test_the_smallest_numbers_leave_every_figure_finite(least: float) -> None:
    one, other = np.array([[1.0, least]]), np.array([[1.0, 0.0]])
    for measure in (kullback_leibler, jensen_shannon, total_variation):
        assert np.isfinite(measure(one, other)).all()
        assert np.isfinite(measure(other, one)).all()


def test_classes_count_alike_and_only_images_of_forgotten_ones_do() -> None:
    version, reference = some(3), some(4)
    found = divergences(version, reference, frozenset({2, 3}))
    of_images = total_variation(version.probabilities, reference.probabilities)
    assert found["per_image"]["tv"] == pytest.approx((of_images[2:4].mean() + of_images[4:].mean()) / 2)
    means = [
        distance.jensenshannon(version.probabilities[part].mean(0), reference.probabilities[part].mean(0)) ** 2
        for part in (slice(2, 4), slice(4, 7))
    ]
    assert found["mean_prediction"]["js"] == pytest.approx(np.mean(means))


def test_opposite_answers_to_two_images_cancel_in_their_mean_alone() -> None:
    labels = np.array([1, 1])
    version = Outputs(labels, np.array([[1.0, 0.0], [0.0, 1.0]]))
    reference = Outputs(labels, version.probabilities[::-1])
    found = divergences(version, reference, frozenset({1}))
    assert found["mean_prediction"]["tv"] == 0
    assert found["per_image"]["tv"] == 1


def test_the_masked_original_is_no_distance_from_itself_and_the_original_is() -> None:
    original = some(5)
    kept = np.array([True, True, False, False])
    shared = np.where(kept, original.probabilities, 0)
    version = Outputs(LABELS, shared / shared.sum(axis=1, keepdims=True))
    data = EvaluationInput(tuple("abcd"), frozenset({2, 3}), version, version, original, original, seed=0)
    forgot = DivergenceEvaluator().evaluate(data)
    knew = DivergenceEvaluator().evaluate(replace(data, test=original))
    assert [forgot[f"{kind}_masked"] for kind in ("kl", "js", "tv")] == pytest.approx([0, 0, 0], abs=1e-12)
    # Its total variation from itself masked is the share that the forgotten classes had.
    had = [original.probabilities[k == LABELS][:, [2, 3]].sum(axis=1).mean() for k in (2, 3)]
    assert knew["masked_original"]["per_image"]["tv"] == pytest.approx(np.mean(had))
    assert knew["divergence_images"] == 5
    assert "retrained" not in knew
    assert knew["tv_retrained"] is None


def test_a_retrained_network_is_a_reference_of_its_own() -> None:
    version, original, retrained = some(6), some(7), some(8)
    data = EvaluationInput(tuple("abcd"), frozenset({3}), version, version, original, original, seed=0)
    networks = {NetworkRole.ORIGINAL: examined(test=original), NetworkRole.RETRAINED: examined(test=retrained)}
    found = DivergenceEvaluator().evaluate(replace(data, networks=networks))
    assert found["retrained"] == divergences(version, retrained, frozenset({3}))
    assert found["tv_retrained"] == found["retrained"]["mean_prediction"]["tv"] != found["tv_masked"]


def test_without_forgotten_images_nothing_is_told() -> None:
    answers = some(9)
    found = DivergenceEvaluator().evaluate(
        EvaluationInput(tuple("abcd"), frozenset(), answers, answers, answers, answers, seed=0)
    )
    assert found["divergence_images"] == 0
    assert {found[f"{kind}_masked"] for kind in ("kl", "js", "tv")} == {None}
