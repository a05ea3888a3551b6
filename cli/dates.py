"""Dates as people type them."""

from datetime import UTC, datetime

from ledger.errors import UsageError

FIRST_YEAR, LAST_YEAR = 1900, 9998
"""Far enough from the ends of the calendar for any time zone and deadline."""


def parse_date(text: str) -> datetime:
    """Read an ISO 8601 date or time; without a zone it is UTC.

    Raises:
        UsageError: The text is neither, or lies where no calendar month can be added.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no date", "write 2026-03-31 or 2026-03-31T12:00+01:00") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise UsageError(f"the year of {text!r} is not between {FIRST_YEAR} and {LAST_YEAR}", "check the date")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
