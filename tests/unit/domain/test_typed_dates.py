"""Dates as people type them, in the ledger's time zone."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.due import due_by_default
from ledger.domain.typed_dates import parse_date
from ledger.errors import UsageError

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
NOW = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
"""Early on the 29th in Berlin, in the night in which clocks go forward; the evening of the 28th in New York."""


@pytest.mark.parametrize(
    ("text", "utc", "berlin", "york"),
    [
        ("today", "2026-03-28T23:59:59", "2026-03-29T21:59:59", "2026-03-29T03:59:59"),
        ("Tomorrow", "2026-03-29T23:59:59", "2026-03-30T21:59:59", "2026-03-30T03:59:59"),
        ("yesterday", "2026-03-27T23:59:59", "2026-03-28T22:59:59", "2026-03-28T03:59:59"),
        ("2026-10-25", "2026-10-25T23:59:59", "2026-10-25T22:59:59", "2026-10-26T03:59:59"),
        ("20261025", "2026-10-25T23:59:59", "2026-10-25T22:59:59", "2026-10-26T03:59:59"),
        ("2028-02-29", "2028-02-29T23:59:59", "2028-02-29T22:59:59", "2028-03-01T04:59:59"),
        ("2026-W14-1", "2026-03-30T23:59:59", "2026-03-30T21:59:59", "2026-03-31T03:59:59"),
        ("+0d", "2026-03-28T23:59:59", "2026-03-29T21:59:59", "2026-03-29T03:59:59"),
        ("+30d", "2026-04-27T23:59:59", "2026-04-28T21:59:59", "2026-04-28T03:59:59"),
        ("in 30 days", "2026-04-27T23:59:59", "2026-04-28T21:59:59", "2026-04-28T03:59:59"),
        ("in 1 week", "2026-04-04T23:59:59", "2026-04-05T21:59:59", "2026-04-05T03:59:59"),
        ("+2h", *("2026-03-29T01:30:00",) * 3),
        ("now", *("2026-03-28T23:30:00",) * 3),
        ("2026-07-01T12:00", "2026-07-01T12:00:00", "2026-07-01T10:00:00", "2026-07-01T16:00:00"),
        ("2026-07-01T24:00", "2026-07-02T00:00:00", "2026-07-01T22:00:00", "2026-07-02T04:00:00"),
        ("2026-12-31 24:00:00+01:00", *("2026-12-31T23:00:00",) * 3),
        ("2026-10-25T02:30+02:00", *("2026-10-25T00:30:00",) * 3),
        ("2026-07-01T12:00Z", *("2026-07-01T12:00:00",) * 3),
        ("1900-01-01T00:00+14:00", *("1899-12-31T10:00:00",) * 3),
    ],
)
def test_a_day_ends_where_the_ledger_is(text: str, utc: str, berlin: str, york: str) -> None:
    for zone, wanted in ((UTC, utc), (BERLIN, berlin), (NEW_YORK, york)):
        assert parse_date(text, NOW, zone) == datetime.fromisoformat(wanted).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "berlin"),
    [("today", "2026-03-28T23:00:00"), ("2026-10-25", "2026-10-24T22:00:00"), ("now", "2026-03-28T23:30:00")],
)
def test_a_day_of_receipt_stands_for_its_beginning(text: str, berlin: str) -> None:
    wanted = datetime.fromisoformat(berlin).replace(tzinfo=UTC)
    assert parse_date(text, NOW, BERLIN, begins=True) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-03-29T02:30", "never show 2026-03-29T02:30"),
        ("2026-10-25T02:30", "show 2026-10-25T02:30 twice"),
        ("2026-02-29", "is no date"),
        ("2026-02-30", "is no date"),
        ("2026-13-01", "is no date"),
        ("2026-07-01T25:00", "is no date"),
        ("2026-07-01T24:01", "is no date"),
        ("T24:00", "is no date"),
        ("-5d", "is no date"),
        ("+-5d", "is no date"),
        ("in -3 days", "is no date"),
        ("+5", "is no date"),
        ("in 5 years", "is no date"),
        ("", "is no date"),
        ("soon", "is no date"),
        ("+999999d", "more than 200 years"),
        ("in 999999 weeks", "more than 200 years"),
        ("9999-12-31T23:59-14:00", "not between 1900 and 9998"),
        ("0001-01-01T00:00+14:00", "not between 1900 and 9998"),
        ("9999-12-31T24:00", "not between 1900 and 9998"),
    ],
)
def test_what_is_no_time_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        parse_date(text, NOW, BERLIN)
    assert caught.value.hint


def test_a_time_that_comes_twice_can_be_written_with_its_offset() -> None:
    with pytest.raises(UsageError) as caught:
        parse_date("2026-10-25T02:30", NOW, BERLIN)
    assert "2026-10-25T02:30+02:00" in caught.value.hint


@pytest.mark.parametrize(
    ("received", "zone", "due"),
    [
        ("2024-01-31T00:00:00+00:00", UTC, "2024-02-29T23:59:59+00:00"),
        ("2023-01-31T12:00:00+00:00", UTC, "2023-02-28T23:59:59+00:00"),
        ("2026-02-28T23:30:00+00:00", BERLIN, "2026-04-01T21:59:59+00:00"),
        ("2026-03-01T03:30:00+00:00", NEW_YORK, "2026-03-29T03:59:59+00:00"),
    ],
)
def test_a_deadline_passes_with_its_day(received: str, zone: ZoneInfo, due: str) -> None:
    assert due_by_default(datetime.fromisoformat(received), zone) == datetime.fromisoformat(due)


@given(st.text(max_size=25) | st.from_regex(r"(\+|in )?-?[0-9]{1,7}[dwhT :.+-]{0,4}[0-9]{0,6}", fullmatch=True))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    for zone in (UTC, BERLIN):
        try:
            moment = parse_date(text, NOW, zone)
        except UsageError:
            continue
        assert moment.tzinfo is UTC
