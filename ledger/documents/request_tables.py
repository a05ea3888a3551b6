"""Requests as files for other programs: CSV, JSON Lines, and the due dates as a calendar."""

import json
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from ledger.report.data.tables import Cell, Table, to_csv

from .document import Document

COLUMNS = (
    *("id", "model", "classes", "state", "due_at", "days_left", "received_at", "reason", "basis", "external_id"),
    *("actor", "created_at", "updated_at", "version", "no_op", "gates_waived", "outcome"),
)
MOST_OCTETS = 75
"""Of a line of a calendar (RFC 5545, 3.1)."""


def requests_csv(items: Iterable[Document]) -> bytes:
    """Return requests as CSV (RFC 4180), their classes with ``;`` between, or as a JSON list where a label has one."""
    rows = tuple(tuple(_cell(name, item[name]) for name in COLUMNS) for item in items)
    return to_csv(Table("requests", COLUMNS, rows))


def requests_jsonl(items: Iterable[Document]) -> bytes:
    """Return requests as JSON Lines."""
    return "".join(json.dumps(item, ensure_ascii=False, default=_plain) + "\n" for item in items).encode(
        errors="backslashreplace"
    )


def requests_calendar(
    items: Iterable[tuple[Document, date]], *, log: str, now: datetime, with_classes: bool = False
) -> bytes:
    """Return the due dates of requests as a calendar (RFC 5545), an all-day event each.

    An event keeps its identity from one calendar to the next, so that a date that was moved replaces the older one.
    Calendars are shared freely: what a request is about is not told unless that is asked for.

    Args:
        items: Open requests, each with the day at whose end it is due.
        log: Name of the ledger's log, which no other ledger has.
        now: The current time.
        with_classes: Name the classes and the model.
    """
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//unledger//due dates//EN", "CALSCALE:GREGORIAN"]
    for item, day in items:
        about = f": {item['model']}, {', '.join(item['classes'])}" if with_classes else ""
        lines += [
            "BEGIN:VEVENT",
            f"UID:request-{item['id']}@{_text(log)}",
            f"DTSTAMP:{now:%Y%m%dT%H%M%SZ}",
            f"LAST-MODIFIED:{_moment(item['updated_at']):%Y%m%dT%H%M%SZ}",
            f"DTSTART;VALUE=DATE:{day:%Y%m%d}",
            "SUMMARY:" + _text(f"Request {item['id']} is due{about}"),
            "TRANSP:TRANSPARENT",
            "END:VEVENT",
        ]
    lines.append("END:VCALENDAR")
    return "".join(f"{_folded(line)}\r\n" for line in lines).encode()


def _text(text: str) -> str:
    """Escape a text (RFC 5545, 3.3.11)."""
    shown = text.encode(errors="replace").decode()
    for sign, escaped in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\r\n", "\\n"), ("\n", "\\n"), ("\r", "\\n")):
        shown = shown.replace(sign, escaped)
    return "".join(character for character in shown if character >= " ")


def _folded(line: str) -> str:
    """Part a line into pieces of at most 75 octets, between characters."""
    pieces, room = [""], MOST_OCTETS
    for character in line:
        size = len(character.encode())
        if size > room:
            # The blank at which the next piece begins counts.
            pieces.append("")
            room = MOST_OCTETS - 1
        pieces[-1] += character
        room -= size
    return "\r\n ".join(pieces)


def _cell(name: str, value: Any) -> Cell:
    if name == "classes":
        safe = all(
            label == label.strip() and ";" not in label and label and not label.startswith("[") for label in value
        )
        return ";".join(value) if safe else json.dumps(value, ensure_ascii=False)
    return value.isoformat() if isinstance(value, datetime) else value


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
