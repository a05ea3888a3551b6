"""Moments that every time zone can show."""

from datetime import UTC, datetime, timedelta, tzinfo

from ledger.errors import UsageError

from .typed_dates import FIRST_YEAR, LAST_YEAR

EARLIEST = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC) - timedelta(days=1)
LATEST = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC) + timedelta(days=1)
"""A day more than the years themselves: where they begin and end depends on the time zone."""


def require_in_calendar(moment: datetime, what: str) -> None:
    """Refuse a moment so early or late that a time zone, or a deadline, leaves the calendar.

    Args:
        moment: The moment, with its time zone.
        what: What to call it.

    Raises:
        UsageError: It lies outside the years that the ledger takes.
    """
    if not EARLIEST <= moment <= LATEST:
        raise UsageError(
            f"the year of {what}, {moment.isoformat()}, is not between {FIRST_YEAR} and {LAST_YEAR}", "check the date"
        )


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return a moment in a time zone; as it is where the zone's clocks would leave the calendar."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment
