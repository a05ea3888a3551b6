"""Days that people choose, as moments in the ledger's time zone."""

from datetime import date, datetime

from ledger.desk.local.desk import LocalDesk
from ledger.domain.due import end_of_day
from ledger.errors import UsageError


def end_of_day_in(desk: LocalDesk, day: date) -> datetime:
    """Return the last second of a day where the ledger is kept."""
    return end_of_day(day, desk.ledger.config.zone)


def chosen_day(text: str) -> date | None:
    """Return a day that was chosen in a form; None if none was.

    Raises:
        UsageError: It is no day.
    """
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError("this is no day of the calendar", "write it as 2026-01-31") from None
