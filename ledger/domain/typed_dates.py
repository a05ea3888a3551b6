"""Dates, times and ages as people type them."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

from ledger.domain.due import beginning_of_day, end_of_day
from ledger.domain.years import require_taken_year
from ledger.errors import UsageError

MOST_DAYS = 200 * 366
"""Longest time from now."""
HINT = "write 2026-03-31, 2026-03-31T12:00+01:00, today, tomorrow, yesterday, now, +30d or in 30 days"

_AGE = re.compile("([0-9]{1,5})([dhw]?)")
_UNITS = {"": "days", "d": "days", "h": "hours", "w": "weeks"}
_DATE = re.compile("[0-9]{4}-?[0-9]{2}-?[0-9]{2}|[0-9]{4}-?W[0-9]{2}(-?[0-9])?")
_LATER = re.compile(r"(?:\+|in\s+)\s*([0-9]{1,6})\s*(days?|d|weeks?|w|hours?|h)")
_MIDNIGHT = re.compile(r"(.+)[T ]24(:?00(:?00(\.0+)?)?)?(Z|[+-][0-9:]+)?")
_NAMED = {"yesterday": -1, "today": 0, "tomorrow": 1}


def parse_date(text: str, now: datetime, zone: tzinfo, *, begins: bool = False) -> datetime:
    """Read a date, a time, or a time from now.

    Args:
        text: ISO 8601, ``today``, ``tomorrow``, ``yesterday``, ``now``, ``+30d``, ``in 30 days``; also weeks and hours.
        now: The current time.
        zone: The time zone in which days begin and end; also of a time without one.
        begins: Whether a day stands for its beginning; else for its end.

    Raises:
        UsageError: The text is none of them, its year is out of range, or clocks in the time zone show that time never
            or twice.
    """
    said = text.strip()
    later = _LATER.fullmatch(said.lower())
    if said.lower() == "now":
        return now.astimezone(UTC)
    if later is not None:
        return _from_now(text, int(later[1]), later[2][0], now, zone, begins=begins)
    if said.lower() in _NAMED:
        return _day(now.astimezone(zone) + timedelta(days=_NAMED[said.lower()]), zone, begins=begins)
    midnight = _MIDNIGHT.fullmatch(said)
    try:
        # The end of a day may be written as 24:00; Python reads that from release 3.13 on.
        moment = datetime.fromisoformat(f"{midnight[1]}T00:00{midnight[5] or ''}" if midnight else said)
    except ValueError:
        raise UsageError(f"{text!r} is no date", HINT) from None
    require_taken_year(moment, repr(text))
    if _DATE.fullmatch(said):
        return _day(moment, zone, begins=begins)
    moment += timedelta(days=1 if midnight else 0)
    return moment.astimezone(UTC) if moment.tzinfo is not None else _in_zone(text, moment, zone)


def _from_now(text: str, count: int, unit: str, now: datetime, zone: tzinfo, *, begins: bool) -> datetime:
    passed = timedelta(**{_UNITS[unit]: count})
    if passed.days > MOST_DAYS:
        raise UsageError(f"{text!r} is more than 200 years from now", "check the number")
    return now.astimezone(UTC) + passed if unit == "h" else _day(now.astimezone(zone) + passed, zone, begins=begins)


def _day(moment: datetime, zone: tzinfo, *, begins: bool) -> datetime:
    return beginning_of_day(moment.date(), zone) if begins else end_of_day(moment.date(), zone)


def _in_zone(text: str, moment: datetime, zone: tzinfo) -> datetime:
    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first.astimezone(UTC)
    exists = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == moment
    raise UsageError(
        f"clocks in {zone} show {text} twice" if exists else f"clocks in {zone} never show {text}: they go forward",
        f"write it with its offset, e.g. {first.isoformat(timespec='minutes')}"
        if exists
        else "write a time that exists, or one with its offset from UTC",
    )


def parse_age(text: str) -> timedelta:
    """Read ``30d``, ``12h``, ``4w``, or a number of days.

    Raises:
        UsageError: The text has another form.
    """
    found = _AGE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no age", "write for example 30d, 12h or 4w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
