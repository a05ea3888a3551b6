"""Dates and ages as people type them."""

import re
from datetime import UTC, datetime, timedelta

from ledger.errors import UsageError

FIRST_YEAR, LAST_YEAR = 1900, 9998
"""Years accepted: neither a time zone nor a deadline then leaves the calendar."""

_AGE = re.compile("([0-9]{1,5})([dhw]?)")
_UNITS = {"": "days", "d": "days", "h": "hours", "w": "weeks"}


def parse_date(text: str) -> datetime:
    """Read an ISO 8601 date or time; without a zone it is UTC.

    Raises:
        UsageError: The text is neither, or its year is out of range.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no date", "write 2026-03-31 or 2026-03-31T12:00+01:00") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise UsageError(f"the year of {text!r} is not between {FIRST_YEAR} and {LAST_YEAR}", "check the date")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def parse_age(text: str) -> timedelta:
    """Read ``30d``, ``12h``, ``4w``, or a number of days.

    Raises:
        UsageError: The text has another form.
    """
    found = _AGE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no age", "write for example 30d, 12h or 4w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
