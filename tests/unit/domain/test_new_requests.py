"""What no database could keep, or no calendar show, is no request, whichever way it comes in."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ledger.domain.moments import in_zone
from ledger.domain.requests import NewRequest
from ledger.domain.years import EARLIEST, LATEST
from ledger.errors import UsageError

AHEAD, BEHIND = timezone(timedelta(hours=14)), timezone(-timedelta(hours=14))
LONGEST = {"reason": 10_000, "basis": 100, "external_id": 200, "idempotency_key": 200}


def request(**said: Any) -> NewRequest:
    return NewRequest(frozenset({0}), "ada", **said)


@pytest.mark.parametrize(("name", "longest"), LONGEST.items())
def test_texts_have_an_end(name: str, longest: int) -> None:
    assert getattr(request(**{name: "x" * longest}), name) == "x" * longest
    with pytest.raises(UsageError, match=f"at most {longest:,} are kept"):
        request(**{name: "x" * (longest + 1)})


@pytest.mark.parametrize("name", LONGEST)
@pytest.mark.parametrize("text", ["a\0b", "x\ud800"])
def test_texts_hold_characters(name: str, text: str) -> None:
    with pytest.raises(UsageError, match="holds what is no character"):
        request(**{name: text})


def test_an_empty_key_is_none_that_a_second_request_could_repeat() -> None:
    with pytest.raises(UsageError, match="cannot be empty"):
        request(idempotency_key="")
    assert request().idempotency_key is None


@pytest.mark.parametrize("name", ["received_at", "due_at"])
@pytest.mark.parametrize(
    "moment",
    [
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=BEHIND),
        datetime(1, 1, 1, tzinfo=AHEAD),
        datetime(1899, 12, 30, tzinfo=UTC),
    ],
)
def test_dates_lie_where_every_time_zone_can_show_them(name: str, moment: datetime) -> None:
    with pytest.raises(UsageError, match="is not between 1900 and 9998"):
        request(**{name: moment})


@pytest.mark.parametrize("moment", [EARLIEST, LATEST])
def test_what_is_taken_can_be_shown_everywhere(moment: datetime) -> None:
    assert request(due_at=moment).due_at == moment
    for zone in (AHEAD, BEHIND, ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Pacific/Niue")):
        assert in_zone(moment, zone).tzinfo is zone


def test_what_a_time_zone_cannot_show_is_shown_as_it_is() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert in_zone(last, AHEAD) == last
