"""Moments that every time zone can show."""

from datetime import datetime, tzinfo

from .years import EARLIEST, LATEST, untaken_year


def require_in_calendar(moment: datetime, what: str) -> None:
    """Refuse a moment so early or late that a time zone, or a deadline, leaves the calendar.

    Args:
        moment: The moment, with its time zone.
        what: What to call it.

    Raises:
        UsageError: It lies outside the years that the ledger takes.
    """
    if not EARLIEST <= moment <= LATEST:
        raise untaken_year(f"{what}, {moment.isoformat()},")


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return a moment in a time zone; as it is where the zone's clocks would leave the calendar."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment
