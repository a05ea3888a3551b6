"""Dates as people type them."""

from datetime import UTC, datetime

from ledger.errors import UsageError


def parse_date(text: str) -> datetime:
    """Read an ISO 8601 date or time; without a zone it is UTC.

    Raises:
        UsageError: The text is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no date", "write 2026-03-31 or 2026-03-31T12:00+01:00") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
