"""Files of requests: lines of classes, JSON Lines, or a table as CSV; every bad line is found, not only the first."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime, tzinfo
from enum import StrEnum
from functools import partial
from typing import Any

from ledger.domain.labels import LabelMap
from ledger.domain.requests import NewRequest
from ledger.domain.typed_dates import parse_date
from ledger.errors import LedgerError, UsageError
from ledger.json_shapes import read_unique_json_as, value_as

MOST_LINES = 100_000
"""Most lines of one file."""
MOST_BYTES = 16 * 2**20
FIELDS = tuple(field.name for field in fields(NewRequest) if field.name not in ("actor", "preview"))
"""What a line may say."""
RESULTS = frozenset({"id", "model", "state", "days_left", "actor", "created_at", "updated_at"}) | frozenset(
    {"version", "no_op", "gates_waived", "outcome"}
)
"""Further columns of requests that were exported. A table with all of them is one: they are not read."""
LINE_HINT = 'e.g. {"classes": ["cat"], "reason": "...", "external_id": "T-1", "idempotency_key": "..."}'
TABLE_HINT = f"columns are: {', '.join(FIELDS)}; several classes in one cell have a ; between"
DELIMITERS = (",", ";", "\t")
"""Between the cells of a table: the first line shows which. Spreadsheets take what their country takes."""
BYTE_ORDER_MARK = "\ufeff"
FORMULA = "=+-@\t"
"""Signs before which an apostrophe is not part of a cell: our own tables put it there, see the report's CSV."""


class BulkFormat(StrEnum):
    """How a file of requests is written."""

    LINES = "lines"
    """Classes with commas between, or a JSON object; ``#`` begins a comment."""
    JSONL = "jsonl"
    """A JSON object on each line."""
    CSV = "csv"
    """A table whose first line names the columns."""


@dataclass(frozen=True)
class BadLine:
    """A line from which no request can be filed."""

    line: int
    error: LedgerError

    def located(self, source: str) -> LedgerError:
        """Return the error with the place of the line in its message."""
        return type(self.error)(f"{source}:{self.line}: {self.error.message}", self.error.hint)


@dataclass(frozen=True)
class BulkFile:
    """What a file asks for."""

    form: BulkFormat
    requests: tuple[NewRequest, ...]
    lines: tuple[int, ...]
    """The line of each request."""
    bad: tuple[BadLine, ...]


Line = tuple[int, Callable[[], NewRequest]]
"""A line's number, and what reads it."""


def detect(text: str, name: str = "") -> BulkFormat:
    """Tell the format of a file from its name, else from its first line.

    Args:
        text: What it holds.
        name: Its name, if it has one.
    """
    suffix = name.rpartition(".")[2].lower()
    if suffix in ("csv", "tsv"):
        return BulkFormat.CSV
    if suffix in ("jsonl", "ndjson"):
        return BulkFormat.JSONL
    first = next((line for line in text.lstrip(BYTE_ORDER_MARK).splitlines() if line.strip()), "")
    columns = [_column(cell) for cell in first.split(_delimiter(first))]
    return BulkFormat.CSV if "classes" in columns and not _unknown(columns) else BulkFormat.LINES


def read_bulk(
    text: str, form: BulkFormat, labels: LabelMap, actor: str, now: datetime, zone: tzinfo, *, source: str
) -> BulkFile:
    """Read a file of requests.

    Args:
        text: What it holds; a mark of byte order and any ends of lines are accepted.
        form: How it is written.
        labels: The classes of the model that they are about.
        actor: Who files them.
        now: The current time.
        zone: The time zone of dates without one.
        source: What to call the file in errors.

    Raises:
        UsageError: It is too large, holds no request, or has columns that no request has.
    """
    # Not by splitlines, which parts a text at characters that a reason may hold.
    text = text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n").replace("\r", "\n")
    if len(text) > MOST_BYTES or text.count("\n") > MOST_LINES:
        raise UsageError(f"{source} has more than {MOST_LINES:,} lines or {MOST_BYTES:,} bytes", "split it")
    reader = _Reader(labels, actor, now, zone)
    lines = list(reader.table(text, source) if form is BulkFormat.CSV else reader.lines(text, form))
    if not lines:
        raise UsageError(f"{source} holds no request", "one a line: classes with commas between, or a JSON object")
    requests, numbers, bad = [], [], []
    for number, read in lines:
        try:
            requests.append(read())
            numbers.append(number)
        except LedgerError as error:
            bad.append(BadLine(number, error))
    return BulkFile(form, tuple(requests), tuple(numbers), tuple(bad))


@dataclass(frozen=True)
class _Reader:
    labels: LabelMap
    actor: str
    now: datetime
    zone: tzinfo

    def lines(self, text: str, form: BulkFormat) -> Iterator[Line]:
        read = self._object if form is BulkFormat.JSONL else self._line
        for number, line in enumerate(text.split("\n"), 1):
            stripped = line.strip()
            if stripped and not (stripped.startswith("#") and form is BulkFormat.LINES):
                yield number, partial(read, stripped)

    def table(self, text: str, source: str) -> Iterator[Line]:
        first = text.lstrip("\r\n").partition("\n")[0]
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(first), strict=True)
        columns: list[str] = []
        while True:
            number = rows.line_num + 1
            try:
                cells = next(rows, None)
            except csv.Error as error:
                # What follows cannot be told apart any more.
                yield number, partial(_fail, f"it is no row of a table: {error}", TABLE_HINT)
                return
            if cells is None:
                return
            if not any(cell.strip() for cell in cells):
                continue
            if columns:
                yield number, partial(self._row, columns, cells)
                continue
            columns = [_column(cell) for cell in cells]
            unknown = _unknown(columns)
            if unknown or "classes" not in columns or len(set(columns)) < len(columns):
                what = (
                    f"it has {', '.join(map(repr, unknown))}" if unknown else "it needs classes, and each column once"
                )
                raise UsageError(f"{source}:{number} does not name the columns of requests: {what}", TABLE_HINT)

    def _line(self, line: str) -> NewRequest:
        if line.startswith("{"):
            return self._object(line)
        return NewRequest(self.labels.resolve_all([part.strip() for part in line.split(",")]), self.actor)

    def _object(self, line: str) -> NewRequest:
        try:
            classes, texts = _parts(line)
        except KeyError as error:
            raise UsageError(f"this is no request: it lacks {error}", LINE_HINT) from error
        except (ValueError, TypeError) as error:
            raise UsageError(f"this is no request: {error}", LINE_HINT) from error
        return self._request([str(text) for text in classes], texts)

    def _row(self, columns: list[str], cells: list[str]) -> NewRequest:
        if len(cells) != len(columns):
            raise UsageError(f"it has {len(cells)} cells, and the first line has {len(columns)}", TABLE_HINT)
        said = {column: _cell(cell) for column, cell in zip(columns, cells, strict=True) if cell.strip()}
        said = {column: cell for column, cell in said.items() if column in FIELDS}
        classes = said.pop("classes", "")
        if classes.startswith("["):
            try:
                named = [str(one) for one in read_unique_json_as(list[Any], classes)]
            except ValueError as error:
                raise UsageError(f"classes {classes!r} are no JSON list: {error}", TABLE_HINT) from error
        else:
            named = [part.strip() for part in classes.split(";") if part.strip()]
        if not named:
            raise UsageError("it names no class", TABLE_HINT)
        return self._request(named, said)

    def _request(self, classes: list[str], texts: dict[str, str]) -> NewRequest:
        values: dict[str, Any] = {**texts}
        for key in ("received_at", "due_at"):
            if key in values:
                values[key] = parse_date(values[key], self.now, self.zone, begins=key == "received_at")
        return NewRequest(self.labels.resolve_all(classes), self.actor, **values)


def _fail(message: str, hint: str) -> NewRequest:
    raise UsageError(message, hint)


def _column(cell: str) -> str:
    return cell.strip().strip('"').strip().lower().replace(" ", "_").replace("-", "_")


def _unknown(columns: list[str]) -> list[str]:
    known = {*FIELDS, *RESULTS} if set(columns) >= RESULTS else {*FIELDS}
    return [column for column in columns if column not in known]


def _delimiter(line: str) -> str:
    return max(DELIMITERS, key=line.count)


def _cell(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].lstrip(" ")[:1] in tuple(FORMULA) else cell.strip()


def _parts(line: str) -> tuple[list[Any], dict[str, str]]:
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
