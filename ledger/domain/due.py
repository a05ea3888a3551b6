"""Due dates in calendar months, the way deadlines are written in law.

Source: GDPR art. 12(3): "within one month of receipt"; computed as Regulation (EEC) 1182/71 art. 3
does, to the same day of the next month or that month's last day.
"""

import calendar
from datetime import datetime


def add_months(moment: datetime, months: int = 1) -> datetime:
    """Return the same time of day ``months`` later, on the last day of a month that is too short."""
    index = moment.month - 1 + months
    year, month = moment.year + index // 12, index % 12 + 1
    return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))


def days_left(due: datetime, now: datetime) -> int:
    """Return whole days until ``due``, negative once it has passed."""
    return (due - now).days
