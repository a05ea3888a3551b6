"""The membership attack RMIA: beside the paper's definition written out, on networks that remember and on others."""

from typing import Any

import numpy as np
import pytest
import torch
from ledger.plugins.evaluators.reference_models import halves
from ledger.plugins.evaluators.rmia import RmiaEvaluator, rmia_scores
from ledger.plugins.evaluators.roc import MOST_POINTS, bootstrap_interval, rate_at, roc_points, separation
from scipy.stats import bootstrap, rankdata

from ledger.hookspecs import NetworkRole
from tests.fixtures.small_networks import blobs, examination, fitted, perceptron

FORGOTTEN = frozenset({2})


def as_published(
    x: list[float], x_out: list[list[float]], z: list[float], z_out: list[list[float]], a: float, gamma: float
) -> list[float]:
    """The offline attack of arXiv 2312.03262, one image and one pair at a time."""
    scores = []
    for p_x_theta, p_x_refs in zip(x, x_out, strict=True):
        p_out = 0.0
        for p in p_x_refs:
            p_out += p / len(p_x_refs)
        p_x = 0.5 * ((1 + a) * p_out + (1 - a))
        count = 0
        for p_z_theta, p_z_refs in zip(z, z_out, strict=True):
            z_mean = 0.0
            for p in p_z_refs:
                z_mean += p / len(p_z_refs)
            p_z = 0.5 * ((1 + a) * z_mean + (1 - a))
            if (p_x_theta / p_x) * (p_z_theta / p_z) ** -1 >= gamma:
                count += 1
        scores.append(count / len(z))
    return scores


@pytest.mark.parametrize(("a", "gamma"), [(0.3, 1.0), (0.0, 2.0), (0.9, 0.7)])
def test_scores_are_those_of_the_definition(a: float, gamma: float) -> None:
    noise = np.random.default_rng(1)
    x, x_out, z, z_out = (noise.uniform(0.01, 1, shape) for shape in (40, (40, 3), 25, (25, 3)))
    expected = as_published(x.tolist(), x_out.tolist(), z.tolist(), z_out.tolist(), a, gamma)
    assert len(set(expected)) > 10
    np.testing.assert_array_equal(rmia_scores(x, x_out, z, z_out, a=a, gamma=gamma), expected)


def test_a_network_that_finds_nothing_likely_is_scored_without_dividing_by_nothing() -> None:
    nothing, some = np.zeros(3), np.full((3, 2), 0.5)
    assert set(rmia_scores(nothing, some, nothing, some)) == {1.0}
    assert set(rmia_scores(nothing, some, nothing + 0.1, some)) == {0.0}


def test_halves_are_complementary_and_even_within_classes() -> None:
    labels = np.repeat([0, 1, 2], [10, 11, 1])
    sides = halves(labels, 3, np.random.default_rng(0))
    assert {tuple(np.bincount(row[labels == 0])) for row in sides} == {(5, 5)}
    assert {tuple(sorted(np.bincount(row[labels == 1]))) for row in sides} == {(5, 6)}
    assert not np.array_equal(sides[0], sides[1])


def attack(target_seed: int | None) -> dict[str, Any]:
    """Attack a network that knows noise by heart: that with the attacked images, or (a seed) other noise."""
    images = blobs(3, 60, 60, signal=0.0)
    taught = images if target_seed is None else blobs(3, 60, 60, signal=0.0, seed=target_seed)
    network = fitted(perceptron(0), taught.train, taught.train_labels)
    assert network(taught.train).argmax(1).eq(torch.from_numpy(taught.train_labels)).all()
    roles = {NetworkRole.VERSION: network, NetworkRole.ORIGINAL: network, NetworkRole.RETRAINED: perceptron(4)}
    metrics: dict[str, Any] = RmiaEvaluator(most_steps=60).evaluate(examination(images, roles, FORGOTTEN))
    return metrics


def test_a_memorised_set_is_caught_and_every_figure_is_the_same_twice() -> None:
    before = torch.random.get_rng_state()
    metrics = attack(None)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert metrics["rmia_auc"] >= 0.9
    assert metrics["rmia_auc_low"] > 0.8
    assert metrics["rmia_tpr_at_1_percent"] is None, "60 non-members cannot tell a rate of 1 %"
    assert metrics["version"]["tpr_at_zero"] > 0.1
    retrained = metrics["retrained"]
    assert retrained["auc_low"] <= 0.5 <= retrained["auc_high"], "an untrained network remembers nothing"
    assert metrics["rmia_gap"] == metrics["rmia_auc"] - retrained["auc"]
    assert metrics["counts"] == {"members": 60, "non_members": 60, "population_retained": 120}
    assert metrics["references"]["images_each"] == [90] * 4
    assert attack(None) == metrics


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_images_that_were_never_trained_on_look_unseen(seed: int) -> None:
    metrics = attack(seed)
    assert metrics["version"]["distinct_scores"] > 10
    assert metrics["rmia_auc_low"] <= 0.5 <= metrics["rmia_auc_high"]


def test_a_mask_looks_unseen_and_is_told_by_its_equal_scores() -> None:
    images = blobs(3, 60, 60, signal=0.0)
    network = fitted(perceptron(0), images.train, images.train_labels)
    masked = fitted(perceptron(0), images.train, images.train_labels)
    with torch.no_grad():
        masked.get_parameter("head.bias")[2] = -torch.inf
    roles = {NetworkRole.VERSION: masked, NetworkRole.ORIGINAL: network}
    metrics = RmiaEvaluator(pairs=1, most_steps=20).evaluate(examination(images, roles, FORGOTTEN))
    assert metrics["original"]["auc"] > 0.9
    assert (metrics["rmia_auc"], metrics["version"]["distinct_scores"]) == (0.5, 1)


def test_an_attack_that_is_prepared_once_meets_any_network_that_answered_the_same_images() -> None:
    images = blobs(3, 60, 60, signal=0.0)
    knowing, fresh = fitted(perceptron(0), images.train, images.train_labels), perceptron(4)
    evaluator = RmiaEvaluator(pairs=1, most_steps=20)
    roles = {NetworkRole.VERSION: fresh, NetworkRole.ORIGINAL: fresh}
    prepared = evaluator.prepare(examination(images, roles, FORGOTTEN))
    other = examination(images, {NetworkRole.VERSION: knowing, NetworkRole.ORIGINAL: fresh}, FORGOTTEN)
    assert prepared.on(other.train, other.test) == evaluator.evaluate(other)["version"]
    assert prepared.on(other.train, other.test)["auc"] > 0.8


def test_without_a_forgotten_class_nothing_is_claimed() -> None:
    images = blobs(3, 4, 4, signal=1.0)
    roles = dict.fromkeys((NetworkRole.VERSION, NetworkRole.ORIGINAL), perceptron(0))
    metrics = RmiaEvaluator().evaluate(examination(images, roles, frozenset()))
    assert metrics["rmia_auc"] is None
    assert "no class is forgotten" in metrics["reason"]


# -- ROC ---------------------------------------------------------------------------------------------


def test_the_area_counts_pairs_and_equal_scores_half() -> None:
    positives, negatives = np.array([0.9, 0.5, 0.4, 0.4]), np.array([0.1, 0.4, 0.5])
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives]
    found = separation(positives, negatives, seed=0)
    assert found["auc"] == pytest.approx(sum(pairs) / len(pairs))
    assert found["tpr_at_zero"] == 0.25
    assert separation(positives, negatives[:0], seed=0)["auc"] is None


def test_rates_at_few_false_positives_need_enough_negatives() -> None:
    negatives = np.arange(100.0)
    positives = np.array([98.5, 99.5, 200.0, 3.0])
    # One of a hundred may pass: a threshold just above 98 lets 99 through, and three positives.
    assert rate_at(positives, negatives, 0.01) == 0.75
    assert rate_at(positives, negatives[:-1], 0.01) is None
    assert rate_at(positives, negatives, 0.001) is None
    assert rate_at(positives, np.arange(1000.0), 0.001) == 0.0


def test_the_interval_agrees_with_scipy() -> None:
    noise = np.random.default_rng(3)
    positives, negatives = noise.normal(1, 1, 80).round(1), noise.normal(0, 1, 50).round(1)

    def area(p: np.ndarray, n: np.ndarray) -> float:
        # Mann, Whitney: of the ranks of the positives.
        ranks = rankdata(np.concatenate([p, n]))[: len(p)]
        return float((ranks.sum() - len(p) * (len(p) + 1) / 2) / (len(p) * len(n)))

    other = bootstrap((positives, negatives), area, vectorized=False, n_resamples=1000, method="percentile", rng=0)
    # The ends are quantiles of 1,000 draws, each sure to about 0.005.
    expected = (other.confidence_interval.low, other.confidence_interval.high)
    assert bootstrap_interval(positives, negatives, seed=0) == pytest.approx(expected, abs=0.015)


def test_the_kept_points_lie_on_the_curve() -> None:
    noise = np.random.default_rng(4)
    positives, negatives = noise.normal(1, 1, 3000), noise.normal(0, 1, 3000)
    points = roc_points(positives, negatives)
    assert len(points) <= MOST_POINTS
    assert (points[0], points[-1]) == ([0.0, 0.0], [1.0, 1.0])
    assert sum(false <= 0.01 for false, _ in points) > 20, "a curve on log axes needs points on the left"
    for false, true in points[1:-1]:
        threshold = np.sort(negatives)[::-1][round(false * 3000) - 1] if false else negatives.max()
        reached = (positives >= threshold).mean() if false else (positives > threshold).mean()
        assert true >= reached - 1e-12
        assert true <= (positives > np.sort(negatives)[::-1][round(false * 3000)]).mean() + 1e-12
