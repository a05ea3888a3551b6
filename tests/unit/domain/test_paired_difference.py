"""Intervals of differences on the same images: a published example, draws whose truth is known, and the edges."""

import math

import numpy as np
import pytest

from ledger.domain.paired_difference import PairedCounts


def test_a_published_example() -> None:
    # Newcombe 1998, table III: 36 both, 12 and 2 one of the two, none neither; method 10.
    found = PairedCounts(images=50, first=48, second=38, both=36)
    assert found.difference == pytest.approx(0.2)
    assert found.interval() == pytest.approx((0.0569, 0.3404), abs=5e-5)


@pytest.mark.parametrize(("agree", "first", "second"), [(0.9, 0.07, 0.01), (0.5, 0.1, 0.1), (0.02, 0.0, 0.0)])
def test_the_truth_lies_within_as_often_as_it_should(agree: float, first: float, second: float) -> None:
    generator = np.random.default_rng(5)
    draws = generator.multinomial(40, [agree, first, second, 1 - agree - first - second], size=4000)
    held = 0
    for both, one, other, _ in draws.tolist():
        bounds = PairedCounts(40, both + one, both + other, both).interval()
        assert bounds is not None
        held += bounds[0] <= first - second <= bounds[1]
    assert held / len(draws) >= 0.935


def test_agreement_narrows_it() -> None:
    """Both recognise 90 of 100: the same ones, or as if by two coins."""
    same, apart = (PairedCounts(100, 90, 90, both).interval() for both in (90, 81))
    assert same is not None
    assert apart is not None
    assert 0 < same[1] - same[0] < (apart[1] - apart[0]) / 2


@pytest.mark.parametrize(("first", "second", "both"), [(0, 0, 0), (20, 20, 20), (20, 0, 0), (0, 20, 0), (11, 9, 4)])
def test_it_holds_the_difference_within_one_and_turns_with_it(first: int, second: int, both: int) -> None:
    one, other = PairedCounts(20, first, second, both), PairedCounts(20, second, first, both)
    bounds, turned = one.interval(), other.interval()
    assert bounds is not None
    assert turned is not None
    assert one.difference is not None
    assert -1 <= bounds[0] <= one.difference <= bounds[1] <= 1
    assert bounds[1] - bounds[0] > 0.01
    assert turned == pytest.approx((-bounds[1], -bounds[0]))
    assert all(map(math.isfinite, bounds))


def test_without_images_nothing_is_said() -> None:
    assert (PairedCounts(0, 0, 0, 0).difference, PairedCounts(0, 0, 0, 0).interval()) == (None, None)
