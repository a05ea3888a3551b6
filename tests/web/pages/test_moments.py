"""Moments as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger.web.pages.moments import moment, relative, share_spent

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "just now"),
        (-59, "just now"),
        (30, "in a moment"),
        (-60, "1\u00a0minute ago"),
        (3599, "in 59\u00a0minutes"),
        (-47 * 3600, "47\u00a0hours ago"),
        (48 * 3600, "in 2\u00a0days"),
        (-59 * 86400, "59\u00a0days ago"),
        (-70 * 86400, "2\u00a0months ago"),
        (-800 * 86400, "2\u00a0years ago"),
    ],
)
def test_a_moment_is_told_in_the_largest_unit_that_tells_it_well(seconds: int, told: str) -> None:
    assert relative(NOW + timedelta(seconds=seconds), NOW) == told


def test_moments_come_as_values_and_as_text() -> None:
    assert moment(NOW) == moment("2026-03-01T13:00:00+01:00") == NOW


def test_the_share_of_a_requests_time_stays_between_none_and_all() -> None:
    due = NOW + timedelta(days=10)
    shares = [share_spent(NOW, due, NOW + timedelta(days=days)) for days in (-1, 0, 5, 10, 20)]
    assert shares == [0, 0, 0.5, 1, 1]
    assert share_spent(NOW, NOW, NOW) == 1
