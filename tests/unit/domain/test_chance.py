"""What counts show: exact tails, and statements that images support."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from ledger.domain.chance import at_least, at_most, is_about_chance, is_clearly_better, most_hidden, was_known


@given(images=st.integers(0, 2000), share=st.floats(1e-4, 0.9999), data=st.data())
def test_tails_are_those_of_the_binomial_distribution(images: int, share: float, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, images))
    assert at_least(correct, images, share) == pytest.approx(binom.sf(correct - 1, images, share), rel=1e-6, abs=1e-9)
    assert at_most(correct, images, share) == pytest.approx(binom.cdf(correct, images, share), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("correct", "images", "classes", "known"),
    [
        (0, 0, 10, True),
        (0, 1, 10, False),
        (1, 1, 10, True),
        (0, 100, 10, False),
        (10, 100, 10, False),
        (15, 100, 10, False),
        (25, 100, 10, True),
        (100, 100, 10, True),
        (50, 100, 2, False),
        (70, 100, 2, True),
        (3, 5, 2, True),
        (4, 5, 2, True),
        (1, 200, 1000, False),
        (4, 100, 1000, True),
    ],
)
def test_a_class_is_known_if_it_is_recognised_better_than_by_chance(
    correct: int, images: int, classes: int, *, known: bool
) -> None:
    assert was_known(correct, images, classes) is known


def test_a_few_images_show_neither() -> None:
    assert not is_clearly_better(3, 4, 0.5)
    assert not is_about_chance(3, 4, 0.5)
    assert is_about_chance(50, 100, 0.5)
    assert is_clearly_better(90, 100, 0.5)


@given(images=st.integers(1, 5000))
def test_a_share_hides_behind_no_correct_answer_up_to_its_confidence_limit(images: int) -> None:
    share = most_hidden(images)
    assert at_most(0, images, share) == pytest.approx(0.05)
    assert at_most(0, images, share * 0.9) > 0.05


def test_no_images_rule_nothing_out_and_it_takes_hundreds_to_rule_out_one_per_cent() -> None:
    assert most_hidden(0) == 1.0
    assert most_hidden(3) == pytest.approx(0.632, abs=0.001)
    assert most_hidden(298) > 0.01 > most_hidden(299)
