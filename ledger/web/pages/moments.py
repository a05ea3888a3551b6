"""Moments as a person reads them: how long ago or from now, with the exact moment at hand."""

from datetime import datetime

from ledger.report.charts.words import count

MINUTE, HOUR, DAY = 60, 3600, 86400


def moment(value: datetime | str) -> datetime:
    """Return a moment of a document, which holds it as a value here and as text where a server answered."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def relative(value: datetime, now: datetime) -> str:
    """Return how far a moment is from now, in the largest unit that tells it well."""
    seconds = (value - now).total_seconds()
    told = _span(abs(seconds))
    if told is None:
        return "just now" if seconds <= 0 else "in a moment"
    return f"in {told}" if seconds > 0 else f"{told} ago"


def _span(seconds: float) -> str | None:
    if seconds < MINUTE:
        return None
    for unit, most, name in ((MINUTE, HOUR, "minute"), (HOUR, 2 * DAY, "hour"), (DAY, 60 * DAY, "day")):
        if seconds < most:
            return count(int(seconds // unit), name)
    months = int(seconds // (30.44 * DAY))
    return count(months, "month") if months < 24 else count(months // 12, "year")


def share_spent(received: datetime, due: datetime, now: datetime) -> float:
    """Return the share of a request's time that has passed, between 0 and 1."""
    whole = (due - received).total_seconds()
    return 1.0 if whole <= 0 else min(1.0, max(0.0, (now - received).total_seconds() / whole))
