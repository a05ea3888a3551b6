"""Due dates in calendar months, as deadlines in law are computed.

Source: GDPR art. 12(3), "within one month of receipt"; Regulation (EEC) 1182/71 art. 3: the period ends on the same day
of the next month, or on the last day of a month that is too short.
"""

import calendar
from datetime import datetime


def add_months(moment: datetime, months: int = 1) -> datetime:
    """Return the same time of day ``months`` later, on the last day of a month that is too short."""
    index = moment.month - 1 + months
    year, month = moment.year + index // 12, index % 12 + 1
    return moment.replace(year=year, month=month, day=min(moment.day, calendar.monthrange(year, month)[1]))


def days_left(due: datetime, now: datetime) -> int:
    """Return the whole days until ``due``, rounded down; negative once it has passed."""
    return (due - now).days
