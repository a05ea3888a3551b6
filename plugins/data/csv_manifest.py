"""Data source ``csv:FILE``: a table with a path, a label and perhaps a split for each image file."""

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ledger.domain.data_record import DataOptions
from ledger.errors import DataError, NotFoundError
from ledger.hookspecs import DataSource, hookimpl
from ledger.named_files import open_named, read_text

from .image_files import MOST_FILE_BYTES
from .image_listing import normal
from .records import Encoded, Found, Records, RecordSource, class_names
from .split_names import choose

PREFIX = "csv:"
MOST_BYTES = 2**30
"""Largest table, in bytes: sixteen million rows."""
PATHS = ("path", "image", "file", "filename", "filepath", "file_name", "image_path")
LABELS = ("label", "class", "category", "target", "class_name", "labels")
SPLITS = ("split", "subset", "set", "fold", "partition")
"""Names of columns, in lower case."""
EXAMPLE = "the first line names the columns, e.g. path,label,split"
MOST_NAMED = 3


class _Row(NamedTuple):
    path: str
    label: str
    split: str


def read_manifest(path: Path) -> Found:
    """Read a table.

    Raises:
        DataError: It is not such a table; names the line.
    """
    rows, has_split = _rows(path)
    repeated = [name for name, count in Counter(row.path for row in rows).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path} names {len(repeated):,} images twice: {', '.join(repeated[:MOST_NAMED])}", "leave one of them out"
        )
    labels, index = class_names(row.label for row in rows)
    folder = path.parent
    train, test, others = choose({row.split for row in rows}) if has_split else ("", None, [])
    if train is None:
        raise DataError(
            f"{path} has no row whose split is train; its splits are {', '.join(others[:MOST_NAMED]) or test}",
            "call the parts train and test, or leave the column out and add --split 0.8/0.2",
        )
    notes = [f"rows of other splits are left out: {sum(r.split in others for r in rows):,} ({', '.join(others)})"]

    def records(split: str) -> Records:
        chosen = [row for row in rows if row.split == split]
        names = [row.path for row in chosen]

        def fetch(positions: Sequence[int]) -> Iterable[Encoded]:
            return (_read(folder / names[position]) for position in positions)

        return Records(names, [index[row.label] for row in chosen], fetch, [normal(name) for name in names])

    used = [folder / row.path for row in rows if row.split not in others]
    return Found(
        where=f"{PREFIX}{path}",
        labels=labels,
        train=records(train),
        test=None if test is None else records(test),
        files=[path, *used],
        notes=notes if others else (),
    )


def _read(path: Path) -> bytes:
    try:
        with open_named(path) as file:
            return file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise DataError(error.strerror or type(error).__name__, "check the path in the table") from error


def _rows(path: Path) -> tuple[list[_Row], bool]:
    """Return the rows of a table, and whether it has a column of splits."""
    try:
        text = read_text(path, "table", most=MOST_BYTES)
    except NotFoundError as error:
        raise DataError(f"there is no file {path}", f"check the path after {PREFIX}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text: {error}", "save it as CSV in UTF-8") from error
    lines = text.splitlines()
    first = lines[0] if lines else ""
    delimiter = max(",;\t", key=first.count)
    header = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    columns = [
        next((header.index(name) for name in names if name in header), None) for names in (PATHS, LABELS, SPLITS)
    ]
    if columns[0] is None or columns[1] is None:
        missing = "path" if columns[0] is None else "label"
        raise DataError(f"{path} has no column called {missing}; its first line is {first[:80]!r}", EXAMPLE)
    try:
        rows = list(_parsed(path, lines, delimiter, columns))
    except csv.Error as error:
        raise DataError(f"{path} is not a table: {error}", EXAMPLE) from error
    if not rows:
        raise DataError(f"{path} has no rows", EXAMPLE)
    return rows, columns[2] is not None


def _parsed(path: Path, lines: list[str], delimiter: str, columns: Sequence[int | None]) -> Iterator[_Row]:
    of_path, of_label, of_split = columns
    reader = csv.reader(itertools.islice(lines, 1, None), delimiter=delimiter, strict=True)
    for cells in reader:
        if not any(cells):
            continue
        values = [
            "" if place is None else cells[place].strip() if place < len(cells) else ""
            for place in (of_path, of_label, of_split)
        ]
        if not values[0] or not values[1] or (of_split is not None and not values[2]):
            what = ("path", "label", "split")[next(k for k, value in enumerate(values) if not value)]
            raise DataError(f"line {reader.line_num + 1} of {path} has no {what}", EXAMPLE)
        yield _Row(values[0], normal(values[1]), values[2])


@hookimpl
def unledger_data_source(spec: str, options: DataOptions, cache: Path | None) -> DataSource | None:
    """Answer to ``csv:FILE``."""
    if not spec.startswith(PREFIX):
        return None
    return RecordSource(read_manifest(Path(spec.removeprefix(PREFIX)).expanduser()), options, cache)
