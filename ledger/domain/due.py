"""Due dates in calendar months, as deadlines in law are computed.

Source: GDPR art. 12(3), "within one month of receipt"; Regulation (EEC) 1182/71 art. 3: the period ends on the same day
of the next month, or on the last day of a month that is too short.
"""

import calendar
from datetime import UTC, date, datetime, time, timedelta, tzinfo


def add_months(moment: datetime, months: int = 1) -> datetime:
    """Return the same time of day ``months`` later, on the last day of a month that is too short."""
    index = moment.month - 1 + months
    year, month = moment.year + index // 12, index % 12 + 1
    return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))


def beginning_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the first moment of a day in a time zone, in UTC."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def end_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the last second of a day in a time zone, in UTC. Days in which clocks change are longer or shorter."""
    return beginning_of_day(day + timedelta(days=1), zone) - timedelta(seconds=1)


def due_by_default(received: datetime, zone: tzinfo) -> datetime:
    """Return when a request must be carried out: at the end of the day one month after its receipt."""
    return end_of_day(add_months(received.astimezone(zone)).date(), zone)


def days_left(due: datetime, now: datetime) -> int:
    """Return the whole days until ``due``, rounded down; negative once it has passed."""
    return (due - now).days
