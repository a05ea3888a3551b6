"""Intervals of shares: Wilson's against scipy, and of means against draws whose truth is known."""

import numpy as np
import pytest
from scipy.stats import binomtest

from ledger.domain.intervals import mean_interval, wilson


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
