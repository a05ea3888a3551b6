"""Intervals of shares: Wilson's against scipy, and of means against draws whose truth is known."""

import numpy as np
import pytest
from scipy.stats import binomtest

from ledger.domain.intervals import mean_interval, mean_loss_interval, wilson


@pytest.mark.parametrize(("correct", "images"), [(0, 1), (1, 1), (0, 36), (36, 36), (17, 36), (999, 1000), (1, 7)])
def test_one_class_has_wilson_s_interval(correct: int, images: int) -> None:
    found = wilson(correct, images)
    exact = binomtest(correct, images).proportion_ci(method="wilson")
    assert found is not None
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_ends_are_exact_and_nothing_is_known_without_images() -> None:
    none, all_of_them = wilson(0, 20), wilson(20, 20)
    assert none is not None
    assert all_of_them is not None
    assert (none.low, all_of_them.high) == (0.0, 1.0)
    assert none.high == pytest.approx(1 - all_of_them.low)
    assert wilson(0, 0) is None
    assert mean_interval([]) is None
    assert mean_interval([(0, 0), (0, 0)]) is None


def test_the_mean_of_one_class_is_that_class_and_empty_ones_do_not_count() -> None:
    assert wilson(12, 40) == mean_interval([(12, 40), (0, 0)])


def test_the_mean_is_not_weighted_by_images() -> None:
    found = mean_interval([(100, 100), (0, 4)])
    assert found is not None
    assert found.low < 0.5 < found.high
    # The four images decide: the hundred alone would leave hardly any doubt.
    assert found.high - found.low > 0.2


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    shares, images = np.array([0.99, 0.95, 0.8, 0.6]), np.array([36, 35, 40, 20])
    drawn = np.random.default_rng(0).binomial(images, shares, size=(2000, 4))
    intervals = [mean_interval(list(zip(row.tolist(), images.tolist(), strict=True))) for row in drawn]
    held = np.mean([one is not None and one.low <= shares.mean() <= one.high for one in intervals])
    assert 0.93 <= held <= 0.98


def test_a_loss_is_counted_on_the_images_that_differ() -> None:
    found = mean_loss_interval([(3, 1, 40)])
    lost, gained = (binomtest(count, 40).proportion_ci(method="wilson") for count in (3, 1))
    assert found is not None
    assert found.low == pytest.approx(0.05 - np.hypot(0.075 - lost.low, gained.high - 0.025))
    assert found.high == pytest.approx(0.05 + np.hypot(lost.high - 0.075, 0.025 - gained.low))
    # Nothing was lost or gained: the more images, the surer.
    same = [mean_loss_interval([(0, 0, images)] * 10) for images in (20, 200)]
    assert [one is not None and one.high == -one.low for one in same] == [True, True]
    assert same[0] is not None
    assert same[1] is not None
    assert same[0].high > 5 * same[1].high > 0
    assert mean_loss_interval([]) is None
    assert mean_loss_interval([(0, 0, 0)]) is None


def test_nineteen_of_twenty_intervals_hold_the_true_loss() -> None:
    kinds = np.array([[0.03, 0.01, 0.96], [0.10, 0.02, 0.88], [0.0, 0.02, 0.98], [0.05, 0.05, 0.9]])
    truth = (kinds[:, 0] - kinds[:, 1]).mean()
    generator = np.random.default_rng(0)
    held = []
    for _ in range(1000):
        drawn = [generator.multinomial(45, shares).tolist() for shares in kinds]
        found = mean_loss_interval([(lost, gained, 45) for lost, gained, _ in drawn])
        held.append(found is not None and found.low <= truth <= found.high)
    assert 0.93 <= np.mean(held) <= 0.99
