"""The bar is decided by few images where that is clear, by all where it is not, and wrongly as seldom as is stated."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.candidates.bar_test import BarTest, MeanAbove

BAR, ERROR = 0.01, 0.05
LOSSES = st.floats(-1, 1)


def decide(
    drawn: list[float],
    known: list[float],
    bar: float = BAR,
    error: float = ERROR,
    *,
    first: int = 96,
    batch: int = 32,
    least: float | None = None,
) -> tuple[bool, int]:
    """Return the verdict, and how many images it took."""
    lowest = sum(known) - 1 if least is None else least
    test = BarTest(bar, error, len(drawn), known=len(known), least_known=lowest, first=first)
    place = 0
    shown = 0
    while test.verdict is None:
        if test.wants_known:
            test.add_known(known)
            shown += len(known)
        else:
            part = drawn[place : place + batch]
            test.add(part)
            place += batch
            shown += len(part)
    return test.verdict, shown


def exact(losses: list[float], bar: float = BAR) -> bool:
    error = statistics.stdev(losses) / math.sqrt(len(losses)) if len(losses) > 1 else 0.0
    return statistics.fmean(losses) + error <= bar


@given(st.lists(LOSSES, min_size=1, max_size=60), st.lists(LOSSES, max_size=20), st.floats(-0.5, 0.5))
@settings(max_examples=200, deadline=None)
def test_without_an_error_all_images_decide(drawn: list[float], known: list[float], bar: float) -> None:
    verdict, shown = decide(drawn, known, bar, 0.0, first=8, batch=4)
    assert shown == len(drawn) + len(known)
    everything = [*drawn, *known]
    error = statistics.stdev(everything) / math.sqrt(len(everything)) if len(everything) > 1 else 0.0
    if abs(statistics.fmean(everything) + error - bar) > 1e-9:
        assert verdict == exact(everything, bar)


@given(
    st.lists(LOSSES, min_size=1, max_size=200),
    st.lists(LOSSES, max_size=20),
    st.floats(-0.5, 0.5),
    st.integers(0, 300),
    st.integers(1, 50),
)
@settings(max_examples=200, deadline=None)
def test_it_ends_and_the_same_order_gives_the_same_verdict(
    drawn: list[float], known: list[float], bar: float, first: int, batch: int
) -> None:
    once = decide(drawn, known, bar, first=first, batch=batch)
    assert once == decide(list(drawn), list(known), bar, first=first, batch=batch)
    assert once[1] <= len(drawn) + len(known)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 1), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_the_mean_itself_is_never_certain_to_be_exceeded(
    values: list[float], above: float, order: random.Random
) -> None:
    order.shuffle(values)
    threshold = statistics.fmean(values) + above
    test = MeanAbove(len(values), threshold)
    for value in values:
        test.add(value)
    assert test.evidence < math.inf


def populations() -> dict[str, list[float]]:
    """Return losses whose mean lies where a wrong verdict is nearest: at the bar, in several shapes."""
    rng = random.Random(4)
    even = [rng.gauss(0, 0.05) for _ in range(400)]
    few = [1.0] * 6 + [0.0] * 394
    half = [0.3] * 200 + [-0.3] * 200
    return {"even": even, "few": few, "half": half}


@pytest.mark.parametrize("shape", ["even", "few", "half"])
@pytest.mark.parametrize("known", [0, 60])
@pytest.mark.parametrize("breaks", [True, False])
def test_a_wrong_verdict_is_as_seldom_as_stated(shape: str, known: int, *, breaks: bool) -> None:
    losses = populations()[shape]
    # Just on the wrong side of what is decided: the mean for those that keep, the mean with its error for the others.
    margin = statistics.stdev(losses) / math.sqrt(len(losses)) if breaks else 0.0
    shift = BAR - statistics.fmean(losses) + (1e-6 if breaks else -1e-6)
    losses = [min(1.0, max(-1.0, one + shift)) for one in losses]
    assert math.isclose(statistics.fmean(losses), BAR, abs_tol=0.003)
    truth = statistics.fmean(losses)
    bar = truth - 1e-6 + margin if breaks else truth + 1e-6
    rounds, wrong = 400, 0
    rng = random.Random(11)
    alike, rest = losses[:known], losses[known:]
    for _ in range(rounds):
        rng.shuffle(rest)
        verdict, shown = decide(rest, alike, bar, least=-float(known))
        # With all images shown it is no early verdict.
        wrong += shown < len(losses) and verdict == breaks
    # Three standard deviations of a count with the stated probability.
    assert wrong <= rounds * ERROR + 3 * math.sqrt(rounds * ERROR * (1 - ERROR))


def test_a_smaller_error_takes_more_images() -> None:
    rng = random.Random(2)
    losses = [rng.gauss(0.0, 0.02) for _ in range(1000)]
    shown = [decide(losses, [], error=error)[1] for error in (0.2, 0.05, 0.001, 0.0)]
    assert shown == sorted(shown)
    assert shown[0] < shown[2] < shown[3] == 1000


def test_clear_cases_take_few_images_and_unclear_ones_all() -> None:
    rng = random.Random(3)
    ruined = [rng.gauss(0.3, 0.3) for _ in range(1000)]
    harmless = [rng.gauss(0.0, 0.02) for _ in range(1000)]
    unclear = [rng.gauss(BAR, 0.05) for _ in range(1000)]
    verdict, shown = decide(ruined, [])
    assert not verdict
    assert shown <= 96
    verdict, shown = decide(harmless, [])
    assert verdict
    assert shown <= 500
    assert decide(unclear, [])[1] > 700


def test_what_forgotten_classes_resemble_counts_by_its_share() -> None:
    rng = random.Random(5)
    drawn = [rng.gauss(0.0, 0.01) for _ in range(900)]
    assert decide(drawn, [0.05] * 100)[0]
    assert not decide(drawn, [0.3] * 100)[0]
