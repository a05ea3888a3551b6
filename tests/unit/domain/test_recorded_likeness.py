"""How much forgotten classes still stand out, as a version records it and as people read it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.recorded_likeness import RecordedLikeness

SHARES = st.none() | st.floats(-1, 1)


def whole(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.0f} %"


@given(separability=SHARES, divergence=SHARES)
def test_it_survives_being_stored(separability: float | None, divergence: float | None) -> None:
    made = RecordedLikeness(separability, divergence)
    assert RecordedLikeness.read(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize("value", [None, [], "no", {"separability": "much", "divergence": float("nan")}, {"other": 1}])
def test_reading_what_an_earlier_release_or_a_stranger_recorded_never_fails(value: Any) -> None:
    assert RecordedLikeness.read(value) == RecordedLikeness()


def test_people_read_each_figure_beside_that_of_before() -> None:
    told = RecordedLikeness(0.125, 0.0).told(RecordedLikeness(0.75, 0.5), whole)
    assert told == {
        "told from look-alikes": "12 % (masked original 75 %)",
        "answers away from look-alikes": "0 % (masked original 50 %)",
    }


def test_what_was_not_measured_is_not_told() -> None:
    assert RecordedLikeness().told(RecordedLikeness(0.5, 0.5), whole) == {}
    assert RecordedLikeness(None, 0.25).told(RecordedLikeness(), whole) == {"answers away from look-alikes": "25 %"}
