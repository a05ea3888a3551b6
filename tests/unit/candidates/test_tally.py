"""The tally counts what every class still shows, whatever the batches, and holds it against the limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ledger.answers.predictions import Predictions
from ledger.candidates.tally import (
    DOUBT_STANDARD_ERRORS,
    MIN_CONFIDENCE_LIMIT,
    TARGET_SHARE_OF_GATE,
    ForgettingLimits,
    ForgettingTally,
)

CLASSES = 4
Image = tuple[int, bool, bool, float]
"""Class, whether the prediction is correct, whether it is a close call, confidence."""


def limits(images: list[int], max_accuracy: float = 0.1) -> ForgettingLimits:
    return ForgettingLimits(torch.tensor(images, dtype=torch.float64), max_accuracy)


def counted(allowed: ForgettingLimits, *batches: list[Image]) -> ForgettingTally:
    tally = ForgettingTally(allowed)
    for batch in batches:
        labels, correct, close, confidence = ([image[i] for image in batch] for i in range(4))
        tally.add(
            Predictions(torch.tensor(correct), torch.tensor(close), torch.tensor(confidence, dtype=torch.float32)),
            torch.tensor(labels),
        )
    return tally


def images(k: int, count: int, *, correct: int = 0, close: int = 0, confidence: float = 0.0) -> list[Image]:
    """Return images of a class; the first are correct, and the first are close calls."""
    return [(k, i < correct, i < close, confidence) for i in range(count)]


seen = st.lists(
    st.tuples(
        st.integers(0, CLASSES - 1), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])
    ),
    min_size=1,
    max_size=40,
)


def totals(shown: list[Image]) -> list[int]:
    return [sum(k == image[0] for image in shown) for k in range(CLASSES)]


# -- limits -------------------------------------------------------------------------------------------


def test_close_calls_may_use_up_the_gate_and_correct_predictions_a_part_of_it() -> None:
    allowed = limits([100, 50, 0, 0], 0.1)
    assert allowed.close.tolist() == [10, 5, 0, 0]
    assert allowed.correct.tolist() == [
        math.floor(10 * TARGET_SHARE_OF_GATE),
        math.floor(5 * TARGET_SHARE_OF_GATE),
        0,
        0,
    ]


@pytest.mark.parametrize(("classes", "confidence"), [(2, 0.5), (10, 0.1), (50, 0.02), (1000, MIN_CONFIDENCE_LIMIT)])
def test_confidence_may_be_that_of_an_even_guess_or_a_minimum(classes: int, confidence: float) -> None:
    assert limits([1] * classes).confidence == confidence


# -- counts -------------------------------------------------------------------------------------------


@given(seen, st.data())
def test_counts_do_not_depend_on_batches_or_their_order(shown: list[Image], data: st.DataObject) -> None:
    allowed = limits(totals(shown))
    cut = data.draw(st.integers(0, len(shown)))
    whole = counted(allowed, shown)
    parts = counted(allowed, *(part for part in (shown[cut:], shown[:cut]) if part))
    for name in ("images", "accuracy", "revealed", "within_limits", "within_proportion"):
        # Sums of these confidences are exact in float64.
        assert getattr(whole, name) == getattr(parts, name)


@given(seen)
def test_the_figures_are_those_of_the_class_that_shows_most(shown: list[Image]) -> None:
    tally = counted(limits(totals(shown)), shown)
    of_class = [[image for image in shown if image[0] == k] for k in range(CLASSES)]
    assert tally.images == len(shown)
    assert tally.accuracy == max(sum(i[1] for i in own) / len(own) for own in of_class if own)
    most = max(sum(i[1] + i[3] for i in own) for own in of_class)
    assert tally.revealed == pytest.approx(most / max(totals(shown)))
    assert 0 <= tally.revealed <= 2


@given(seen)
def test_once_all_images_are_counted_the_limits_decide_without_doubt(shown: list[Image]) -> None:
    allowed = limits(totals(shown), 0.2)
    expected = all(
        sum(i[1] for i in own) <= math.floor(0.2 * TARGET_SHARE_OF_GATE * len(own))
        and sum(i[2] for i in own) <= math.floor(0.2 * len(own))
        and sum(i[3] for i in own) / len(own) <= allowed.confidence
        for k in range(CLASSES)
        if (own := [image for image in shown if image[0] == k])
    )
    tally = counted(allowed, shown)
    assert tally.within_limits == expected
    # In proportion to all of its images, a class may have used exactly its counts.
    assert tally.within_proportion or not expected


@given(seen, st.data())
def test_a_count_above_its_limit_stays_there(shown: list[Image], data: st.DataObject) -> None:
    # Nothing is confident here, so counts alone decide.
    quiet = [(k, correct, close, 0.0) for k, correct, close, _ in shown]
    allowed = limits(totals(quiet), 0.2)
    cut = data.draw(st.integers(1, len(quiet)))
    assert counted(allowed, quiet[:cut]).within_limits or not counted(allowed, quiet).within_limits


# -- limits on a part of the images -------------------------------------------------------------------


def test_one_correct_prediction_or_close_call_too_many_ends_it() -> None:
    allowed = limits([0, 0, 100, 0], 0.1)
    assert counted(allowed, images(2, 50, correct=5, close=10)).within_limits
    assert not counted(allowed, images(2, 50, correct=6, close=10)).within_limits
    assert not counted(allowed, images(2, 50, correct=5, close=11)).within_limits


def test_on_half_its_images_a_class_may_have_used_half_of_each_count() -> None:
    allowed = limits([0, 0, 80, 0], 0.1)
    assert counted(allowed, images(2, 40, correct=2, close=4)).within_proportion
    assert not counted(allowed, images(2, 40, correct=3, close=4)).within_proportion
    assert not counted(allowed, images(2, 40, correct=2, close=5)).within_proportion


def test_a_mean_confidence_counts_when_it_is_beyond_doubt_or_complete() -> None:
    certain, doubtful = 0.3, [0.0] * 8 + [1.0] * 4
    scattered: list[Image] = [(2, False, False, confidence) for confidence in doubtful]
    mean = sum(doubtful) / len(doubtful)
    error = math.sqrt((mean - mean**2) / len(doubtful))
    assert mean > 1 / CLASSES > mean - DOUBT_STANDARD_ERRORS * error
    more, complete = limits([0, 0, 13, 0]), limits([0, 0, 12, 0])
    assert counted(more, scattered).within_limits
    assert not counted(complete, scattered).within_limits
    # Without scatter there is no doubt.
    assert not counted(more, images(2, 12, confidence=certain)).within_limits
