"""Days that people choose, as moments in the ledger's time zone."""

from datetime import date, datetime

from ledger.desk.local.desk import LocalDesk
from ledger.domain.due import beginning_of_day, end_of_day
from ledger.domain.years import require_taken_year
from ledger.errors import UsageError


def beginning_of_day_in(desk: LocalDesk, day: date) -> datetime:
    """Return the first moment of a day where the ledger is kept: a day of receipt stands for it.

    Raises:
        UsageError: The day lies outside the calendar.
    """
    return beginning_of_day(_in_calendar(day), desk.ledger.config.zone)


def end_of_day_in(desk: LocalDesk, day: date) -> datetime:
    """Return the last second of a day where the ledger is kept: a due date passes with its day.

    Raises:
        UsageError: The day lies outside the calendar.
    """
    return end_of_day(_in_calendar(day), desk.ledger.config.zone)


def chosen_day(text: str) -> date | None:
    """Return a day that was chosen in a form; None if none was.

    Raises:
        UsageError: It is no day, or lies outside the calendar.
    """
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError("this is no day of the calendar", "write it as 2026-01-31") from None
    return _in_calendar(day)


def _in_calendar(day: date) -> date:
    require_taken_year(day, str(day))
    return day
