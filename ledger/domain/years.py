"""The years that the ledger takes: neither a time zone nor a deadline then leaves the calendar."""

from datetime import UTC, date, datetime, timedelta

from ledger.errors import UsageError

FIRST_YEAR, LAST_YEAR = 1900, 9998
DAY = timedelta(days=1)
EARLIEST = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC) - DAY
LATEST = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC) + DAY
"""A day more than the years themselves: where they begin and end depends on the time zone."""


def has_taken_year(day: date) -> bool:
    """Whether the year of a day, or of a moment as it is written, is one that the ledger takes."""
    return FIRST_YEAR <= day.year <= LAST_YEAR


def require_taken_year(day: date, what: str) -> None:
    """Refuse a day, or a moment as it is written, in a year that the ledger does not take.

    Args:
        day: The day.
        what: What to call it.

    Raises:
        UsageError: Its year is another one.
    """
    if not has_taken_year(day):
        raise untaken_year(what)


def untaken_year(what: str) -> UsageError:
    """Return what is said of something in a year that the ledger does not take."""
    return UsageError(f"the year of {what} is not between {FIRST_YEAR} and {LAST_YEAR}", "check the date")
