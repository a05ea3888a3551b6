"""Wording of numbers, shares, dates and lists.

A *share* is a fraction between 0 and 1; a difference of two shares is printed in percentage points.
"""

from collections.abc import Sequence
from datetime import datetime

from .svg import named, shorten

MOST_DIGITS = 6
"""Behind the point, of a difference. What is smaller comes from rounding, not from images."""
SPACE = "\u00a0"
"""A space that keeps a number and its unit on one line."""


def listing(names: Sequence[str], most: int = 6) -> str:
    """Return ``a, b and c``, or the first few and how many more."""
    clean = [named(name) for name in names]
    if len(clean) > most:
        clean = [*clean[: most - 1], f"{len(clean) - most + 1} more"]
    if len(clean) < 2:
        return "".join(clean)
    return f"{', '.join(clean[:-1])} and {clean[-1]}"


def short_listing(names: Sequence[str], most: int = 6) -> str:
    """Return a list for running text, with every long name cut."""
    return listing([shorten(name, 260) for name in names], most)


def percent(share: float | None) -> str:
    """Return a share in percent. A share other than 0 and 1 is never rounded to 0 or 100 percent."""
    if share is None:
        return "not measured"
    if 0 < share < 0.0005:
        return f"under 0.1{SPACE}%"
    if 0.9995 <= share < 1:
        return f"over 99.9{SPACE}%"
    return f"{100 * share:.1f}{SPACE}%"


def bare_percent(share: float | None) -> str:
    """Return a share in percent without the percent sign, for charts and tables."""
    return "–" if share is None else f"{100 * share:.1f}"


def points(change: float | None) -> str:
    """Return a difference of two shares in percentage points, with plus or minus.

    A difference that is there is never rounded away: it gets the digits that it takes.
    """
    if change is None:
        return "–"
    digits = next((count for count in range(1, MOST_DIGITS + 1) if round(abs(100 * change), count)), 1)
    rounded = round(100 * change, digits)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else ''}{abs(rounded):.{digits}f}"


def number(value: float | None) -> str:
    """Return a number with at most four significant digits."""
    return "–" if value is None else f"{value:,.4g}"


def setting(value: object) -> str:
    """Return a setting as a user would type it."""
    if isinstance(value, tuple | list):
        return ", ".join(setting(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def count(amount: int, noun: str, several: str = "") -> str:
    """Return an amount with its noun."""
    return f"{amount:,}{SPACE}{noun if amount == 1 else several or noun + 's'}"


def numbered(noun: str, numbers: Sequence[int]) -> str:
    """Return ``version 2`` or ``versions 2 and 3``."""
    return f"{noun}{'' if len(numbers) == 1 else 's'} {listing([str(n) for n in numbers], 12)}"


def size(amount: float) -> str:
    """Return a number of bytes in a decimal unit, from bytes to GB."""
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f}{SPACE}{unit}" if unit == "bytes" else f"{amount:.1f}{SPACE}{unit}"
        amount /= 1000
    return f"{amount:.1f}{SPACE}GB"


def day(moment: datetime) -> str:
    """Return a date."""
    return f"{moment:%Y-%m-%d}"


def minute(moment: datetime) -> str:
    """Return a date and a time of day."""
    return f"{moment:%Y-%m-%d %H:%M}"


def due_in(days: int) -> str:
    """Return how many days are left until a due date, or how many days late it is."""
    if days < 0:
        return f"{count(-days, 'day')} late"
    return "due today" if days == 0 else f"{count(days, 'day')} left"
