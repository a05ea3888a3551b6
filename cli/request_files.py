"""Files of requests: one a line, as classes with commas between or as a JSON object."""

from dataclasses import fields
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from ledger.desk.desk import FiledRequest
from ledger.domain.labels import LabelMap
from ledger.errors import UsageError
from ledger.json_shapes import read_unique_json_as, value_as
from ledger.named_files import decode_text, read_text

from .dates import parse_date
from .streams import read_bytes

MOST_LINES = 100_000
"""Most lines of one file: all its requests are filed in one transaction."""
MOST_BYTES = 16 * 2**20
FIELDS = tuple(field.name for field in fields(FiledRequest) if field.name != "preview")
"""What a JSON line may say."""
LINE_HINT = 'e.g. {"classes": ["cat"], "reason": "...", "external_id": "T-1", "idempotency_key": "..."}'


def read_requests(file: str, labels: LabelMap, now: datetime, zone: tzinfo) -> list[FiledRequest]:
    """Read requests from a file; empty lines and lines that begin with ``#`` are skipped.

    Args:
        file: A path, or ``-`` for standard input.
        labels: The classes of the model that they are about.
        now: The current time.
        zone: The ledger's time zone.

    Raises:
        NotFoundError: The file does not exist.
        UsageError: It cannot be read, holds no request, or a line of it is not one.
    """
    return [_from_line(labels, where, line, now, zone) for where, line in _lines(file)]


def _indices(labels: LabelMap, texts: list[str]) -> list[str]:
    return [f"index:{k}" for k in sorted(labels.resolve_all(texts))]


def _lines(file: str) -> list[tuple[str, str]]:
    try:
        text = decode_text(read_bytes(MOST_BYTES + 1), "standard input") if file == "-" else read_text(Path(file))
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {file}: {error}") from error
    split = text.splitlines()
    if len(text) > MOST_BYTES or len(split) > MOST_LINES:
        raise UsageError(f"{file} has more than {MOST_LINES:,} lines or {MOST_BYTES:,} bytes", "split it")
    lines = [(f"{file}:{n}", line.strip()) for n, line in enumerate(split, 1)]
    wanted = [(where, line) for where, line in lines if line and not line.startswith("#")]
    if not wanted:
        raise UsageError(f"{file} holds no request", "one a line: classes with commas between, or a JSON object")
    return wanted


def _parts(line: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the classes of a JSON line, and everything else that it says.

    Raises:
        KeyError: It names no classes.
        ValueError: It is not JSON, has another shape, or says what no request has.
    """
    values = read_unique_json_as(dict[str, Any], line)
    if unknown := [key for key in values if key not in FIELDS]:
        raise ValueError(f"it has {', '.join(map(repr, unknown))}; a line may have {', '.join(FIELDS)}")
    try:
        return value_as(list[Any], values.pop("classes")), {**value_as(dict[str, str], values)}
    except ValueError as error:
        raise ValueError("classes must be a list, everything else a text") from error


def _from_line(labels: LabelMap, where: str, line: str, now: datetime, zone: tzinfo) -> FiledRequest:
    try:
        if not line.startswith("{"):
            return FiledRequest(_indices(labels, [part.strip() for part in line.split(",")]))
        texts, values = _parts(line)
        dates: dict[str, Any] = {
            key: parse_date(values.pop(key), now, zone, begins=key == "received_at")
            for key in ("received_at", "due_at")
            if key in values
        }
        return FiledRequest(_indices(labels, [str(text) for text in texts]), **(values | dates))
    except UsageError as error:
        raise type(error)(f"{where}: {error.message}", error.hint) from error
    except KeyError as error:
        raise UsageError(f"{where} is no request: it lacks {error}", LINE_HINT) from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"{where} is no request: {error}", LINE_HINT) from error
