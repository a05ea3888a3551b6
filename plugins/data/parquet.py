"""Data source ``parquet:PATH``: tables of encoded images and their classes.

Only the column of classes is read as a whole. Images are read by row group, of which a few are held.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ledger.domain.data_record import DataOptions
from ledger.errors import DataError
from ledger.hookspecs import DataSource, hookimpl

from .image_columns import Columns, class_labels, described_features, find_columns, parse_spec, require_pyarrow
from .records import Encoded, Found, Records, RecordSource
from .split_names import choose

if TYPE_CHECKING:
    pass

PREFIX = "parquet:"
MOST_HELD_BYTES = 2**28
"""Bytes of images that are held, beyond the row group that is read."""
AT_ONCE = 64
"""Rows that are decoded together."""
LAYOUT = "name files train-*.parquet and test-*.parquet, or put them into PATH/train/ and PATH/test/"
Place = tuple[int, int, int]
"""Number of a file, of a row group in it, and of a row in that."""


def read_tables(root: Path, chosen: Mapping[str, str], where: str) -> Found:
    """Read which images the tables of a folder, or one table, hold.

    Args:
        root: A Parquet file, or a folder of some.
        chosen: The columns that a person named.
        where: The source, as people are told.

    Raises:
        DataError: There are none, or they do not hold images and classes.
    """
    splits = _splits(root)
    train, test, others = choose(splits)
    if train is None:
        raise DataError(f"{root} has no tables of training images; it has {', '.join(others) or test}", LAYOUT)
    wanted = [train, *([test] if test else [])]
    tables = {name: [_Table(path, chosen) for path in splits[name]] for name in wanted}
    columns = tables[train][0].columns
    values = [[value for table in tables[name] for value in table.labels()] for name in wanted]
    labels, targets = class_labels(where, columns, values)
    records = [_records(tables[name], split) for name, split in zip(wanted, targets, strict=True)]
    return Found(
        where=where,
        labels=labels,
        train=records[0],
        test=records[1] if test else None,
        files=[path for name in wanted for path in splits[name]],
        notes=[f"tables of other splits are left out: {', '.join(others)}"] if others else (),
    )


def _splits(root: Path) -> dict[str, list[Path]]:
    if root.is_file():
        return {"train": [root]}
    if not root.is_dir():
        raise DataError(f"there is no file or folder {root}", f"check the path after {PREFIX}")
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(root.rglob("*.parquet")):
        inner = path.relative_to(root).parts[:-1]
        # The hub keeps each split in files called SPLIT-00000-of-00001, within data/ or the name of a configuration.
        named = path.stem.partition("-")[0].rstrip("_0123456789")
        folders = [part for part in inner if choose([part])[:2] != (None, None)]
        found[folders[0] if folders else named or "train"].append(path)
    if not found:
        raise DataError(f"{root} has no .parquet files", LAYOUT)
    if choose(found)[:2] == (None, None):
        # Names of one's own: all of it is one part.
        return {"train": sorted(path for paths in found.values() for path in paths)}
    return found


class _Table:
    """One Parquet file."""

    def __init__(self, path: Path, chosen: Mapping[str, str]) -> None:
        import pyarrow as pa
        from pyarrow import parquet as pq

        self.path = path
        try:
            self.file: pq.ParquetFile = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is not a Parquet file: {str(error)[:200]}", "download or copy it again") from error
        schema = self.file.schema_arrow
        self.columns: Columns = find_columns(str(path), schema, chosen, described_features(schema.metadata))
        self.lock = Lock()

    def labels(self) -> list[Any]:
        """Return the column of classes."""
        return list(self.file.read(columns=[self.columns.label]).column(0).to_pylist())

    def places(self, number: int) -> list[Place]:
        """Return where each row is."""
        metadata = self.file.metadata
        return [(number, g, r) for g in range(metadata.num_row_groups) for r in range(metadata.row_group(g).num_rows)]

    def rows(self, group: int, wanted: set[int]) -> dict[int, Encoded | DataError]:
        """Return the images of some rows of a row group, which is streamed, not held."""
        found: dict[int, Encoded | DataError] = {}
        begin, last = 0, max(wanted)
        column = self.columns.image
        with self.lock:
            for batch in self.file.iter_batches(AT_ONCE, row_groups=[group], columns=[column]):
                values = batch.column(0)
                for row in sorted(wanted & set(range(begin, begin + len(values)))):
                    found[row] = encoded(values[row - begin].as_py())
                begin += len(values)
                if begin > last:
                    break
        return found


def encoded(value: Any) -> bytes | DataError:
    """Return an image of a table, or why it has none."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if data is None and isinstance(value, dict) and value.get("path"):
        # Names in files are not paths: one of them could lead anywhere.
        return DataError("the table names a file instead of holding the image", "save it with the images in it")
    return data if isinstance(data, bytes) else DataError("the table holds no image here")


def _records(tables: Sequence[_Table], targets: Sequence[int]) -> Records:
    places = [place for number, table in enumerate(tables) for place in table.places(number)]
    names = [f"{tables[n].path.name} row group {g} row {r}" for n, g, r in places]
    return Records(names, targets, _Fetcher(tables, places))


class _Fetcher:
    """Reads images by position; holds those that were read last."""

    def __init__(self, tables: Sequence[_Table], places: Sequence[Place]) -> None:
        self._tables, self._places = tables, places
        self._held: OrderedDict[Place, Encoded] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __call__(self, positions: Sequence[int]) -> Iterable[Encoded]:
        """Return images, in the order asked for."""
        with self._lock:
            wanted = [self._places[position] for position in positions]
            found: dict[Place, Encoded | DataError] = {p: self._held[p] for p in wanted if p in self._held}
            groups: dict[tuple[int, int], set[int]] = defaultdict(set)
            for number, group, row in wanted:
                if (number, group, row) not in found:
                    groups[number, group].add(row)
            for (number, group), rows in groups.items():
                for row, data in self._tables[number].rows(group, rows).items():
                    found[number, group, row] = data
                    self._hold((number, group, row), data)
        for place in wanted:
            data = found[place]
            if isinstance(data, DataError):
                raise data
        return [data for place in wanted if not isinstance(data := found[place], DataError)]

    def _hold(self, place: Place, data: Encoded | DataError) -> None:
        if isinstance(data, bytes):
            self._held[place] = data
            self._bytes += len(data)
            while self._bytes > MOST_HELD_BYTES:
                _, gone = self._held.popitem(last=False)
                self._bytes -= len(gone) if isinstance(gone, bytes) else 0


@hookimpl
def unledger_data_source(spec: str, options: DataOptions, cache: Path | None) -> DataSource | None:
    """Answer to ``parquet:PATH``."""
    if not spec.startswith(PREFIX):
        return None
    require_pyarrow(spec)
    path, chosen = parse_spec(spec.removeprefix(PREFIX))
    return RecordSource(read_tables(Path(path).expanduser(), chosen, f"{PREFIX}{path}"), options, cache)
