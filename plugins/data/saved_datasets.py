"""Data source ``hfds:PATH`` or ``hfds:OWNER/NAME``: data sets of Hugging Face's datasets, read with pyarrow alone.

A folder that ``save_to_disk`` wrote holds Arrow files, which are mapped into memory: an image is read when it is
needed. A data set of the hub is read from the Parquet files in huggingface_hub's cache.
"""

import bisect
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from ledger.domain.command_lines import quoted
from ledger.domain.data_record import DataOptions
from ledger.errors import DataError
from ledger.hookspecs import DataSource, hookimpl
from ledger.named_files import read_text

from .image_columns import Columns, class_labels, find_columns, parse_spec, require_pyarrow
from .parquet import encoded, read_tables
from .records import Encoded, Found, Records, RecordSource
from .split_names import choose

PREFIX = "hfds:"
SPLITS, INFO, STATE = "dataset_dict.json", "dataset_info.json", "state.json"


def read_saved(root: Path, chosen: Mapping[str, str], where: str) -> Found:
    """Read what ``save_to_disk`` wrote.

    Raises:
        DataError: It is not that, or does not hold images and classes.
    """
    if (root / SPLITS).is_file():
        names = _json(root / SPLITS).get("splits")
        if not isinstance(names, list) or not all(isinstance(one, str) and Path(one).name == one for one in names):
            raise DataError(f"{root / SPLITS} names no splits", "save the data set again with save_to_disk")
        folders = {name: root / name for name in names}
    else:
        folders = {"train": root}
    train, test, others = choose(folders)
    if train is None:
        raise DataError(
            f"{root} has no split called train; it has {', '.join(others) or test}", "name the parts train and test"
        )
    wanted = [train, *([test] if test else [])]
    parts = {name: _Part(folders[name], chosen) for name in wanted}
    labels, targets = class_labels(where, parts[train].columns, [parts[name].labels() for name in wanted])
    records = [parts[name].records(split) for name, split in zip(wanted, targets, strict=True)]
    return Found(
        where=where,
        labels=labels,
        train=records[0],
        test=records[1] if test else None,
        files=[path for name in wanted for path in parts[name].files],
        notes=[f"other splits are left out: {', '.join(others)}"] if others else (),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path, "description"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path}: {error}", "save the data set again with save_to_disk") from error
    return found if isinstance(found, dict) else {}


class _Part:
    """One split: Arrow files one after the other."""

    def __init__(self, folder: Path, chosen: Mapping[str, str]) -> None:
        import pyarrow as pa

        listed = _json(folder / STATE).get("_data_files")
        names = [one.get("filename") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        self.files = [folder / name for name in names if isinstance(name, str) and Path(name).name == name]
        if not self.files or len(self.files) != len(names):
            raise DataError(f"{folder / STATE} names no files", "save the data set again with save_to_disk")
        try:
            # Mapped, not read: tables of any size take no memory.
            tables = [pa.ipc.open_stream(pa.memory_map(str(path))).read_all() for path in self.files]
            self.table = pa.concat_tables(tables)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"cannot read the tables in {folder}: {str(error)[:200]}", "copy them again") from error
        features = _json(folder / INFO).get("features")
        self.folder = folder
        self.columns: Columns = find_columns(
            str(folder), self.table.schema, chosen, features if isinstance(features, dict) else {}
        )
        chunks = self.table.column(self.columns.image).chunks
        self.chunks = chunks
        self.ends = list(itertools.accumulate(len(chunk) for chunk in chunks))

    def labels(self) -> list[Any]:
        """Return the column of classes."""
        return list(self.table.column(self.columns.label).to_pylist())

    def records(self, targets: Sequence[int]) -> Records:
        """Return the images, given the class index of each."""
        return Records([f"{self.folder.name} row {k}" for k in range(len(targets))], targets, self._fetch)

    def _fetch(self, positions: Sequence[int]) -> Iterable[Encoded]:
        return (self._image(position) for position in positions)

    def _image(self, position: int) -> Encoded:
        number = bisect.bisect_right(self.ends, position)
        chunk = self.chunks[number]
        found = encoded(chunk[position - self.ends[number] + len(chunk)].as_py())
        if isinstance(found, DataError):
            raise found
        return found


def _of_hub(name: str) -> Path:
    """Return the folder of a data set in huggingface_hub's cache."""
    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(repository, repo_type="dataset", revision=revision or None, allow_patterns=["*.parquet"])
        )
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise DataError(
            f"there is no folder {name}, and the hub has no data set of that name", f"check what follows {PREFIX}"
        ) from error
    except LocalEntryNotFoundError as error:
        raise DataError(
            f"{repository} is neither a folder nor in the cache of huggingface_hub, and the hub cannot be "
            "reached from here",
            f"where there is a network: hf download --repo-type dataset {quoted(repository)} --local-dir FOLDER; bring "
            "the folder here, and name it as parquet:FOLDER",
        ) from error
    # What a connection can break of is not written down anywhere.
    except Exception as error:
        raise DataError(
            f"cannot get {repository} from the hub: {str(error)[:200]}", "try again later, or set HF_HUB_OFFLINE=1"
        ) from error


@hookimpl
def unledger_data_source(spec: str, options: DataOptions, cache: Path | None) -> DataSource | None:
    """Answer to ``hfds:PATH`` and ``hfds:OWNER/NAME``."""
    if not spec.startswith(PREFIX):
        return None
    require_pyarrow(spec)
    name, chosen = parse_spec(spec.removeprefix(PREFIX))
    root, where = Path(name).expanduser(), f"{PREFIX}{name}"
    if not root.is_dir():
        return RecordSource(read_tables(_of_hub(name), chosen, where), options, cache)
    saved = any((root / one).is_file() for one in (SPLITS, STATE))
    read = read_saved if saved else read_tables
    return RecordSource(read(root, chosen, where), options, cache)
