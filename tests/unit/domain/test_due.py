"""Due dates in calendar months: the same day of a later month, or its last."""

import calendar
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.due import add_months, days_left

MOMENTS = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2900, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@pytest.mark.parametrize(
    ("start", "months", "due"),
    [
        ("2025-03-15", 1, "2025-04-15"),
        ("2025-03-31", 1, "2025-04-30"),
        ("2025-01-31", 1, "2025-02-28"),
        ("2024-01-31", 1, "2024-02-29"),
        ("2024-01-29", 1, "2024-02-29"),
        ("2023-01-29", 1, "2023-02-28"),
        ("1900-01-31", 1, "1900-02-28"),
        ("2000-01-31", 1, "2000-02-29"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
        ("2024-02-29", 1, "2024-03-29"),
        ("2025-12-31", 1, "2026-01-31"),
        ("2025-12-31", 2, "2026-02-28"),
        ("2025-11-30", 3, "2026-02-28"),
        ("2025-05-31", 0, "2025-05-31"),
        ("2025-01-31", -2, "2024-11-30"),
    ],
)
def test_months_are_added_as_the_law_counts_them(start: str, months: int, due: str) -> None:
    assert add_months(datetime.fromisoformat(start), months) == datetime.fromisoformat(due)


def test_one_month_is_the_default_and_time_of_day_and_zone_stay() -> None:
    zone = timezone(timedelta(hours=-5))
    moment = datetime(2025, 8, 31, 23, 59, 58, 7, tzinfo=zone)
    assert add_months(moment) == datetime(2025, 9, 30, 23, 59, 58, 7, tzinfo=zone)
    assert add_months(moment).tzinfo is zone


@given(moment=MOMENTS, months=st.integers(0, 600))
def test_the_day_is_the_same_or_the_last_of_its_month(moment: datetime, months: int) -> None:
    due = add_months(moment, months)
    assert (due.year * 12 + due.month) - (moment.year * 12 + moment.month) == months
    last = calendar.monthrange(due.year, due.month)[1]
    assert due.day == moment.day or (due.day == last < moment.day)
    assert due.timetz() == moment.timetz()


@given(moment=MOMENTS, later=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=90)))
def test_a_request_received_later_is_never_due_earlier_by_more_than_time_of_day(
    moment: datetime, later: timedelta
) -> None:
    assert add_months(moment + later).date() >= add_months(moment).date()


@pytest.mark.parametrize(
    ("delta", "days"),
    [
        (timedelta(0), 0),
        (timedelta(hours=23, minutes=59), 0),
        (timedelta(days=1), 1),
        (timedelta(days=29, hours=1), 29),
        (timedelta(microseconds=-1), -1),
        (timedelta(days=-1), -1),
        (timedelta(days=-1, microseconds=-1), -2),
    ],
)
def test_days_left_are_whole_and_negative_once_passed(delta: timedelta, days: int) -> None:
    now = datetime(2025, 6, 1, 8, tzinfo=UTC)
    assert days_left(now + delta, now) == days


def test_days_left_compares_moments_and_not_clock_faces() -> None:
    now = datetime(2025, 6, 1, 23, tzinfo=UTC)
    assert days_left(datetime(2025, 6, 2, 1, tzinfo=timezone(timedelta(hours=4))), now) == -1
