"""Data source ``wds:PATH``: tar shards as WebDataset writes them, the files of an image beside each other.

``000017.jpg`` and ``000017.cls`` are one image and its class. A shard is read at random: the directory that its headers
make is read once, and images are read where they lie.
"""

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ledger.domain.command_lines import quoted
from ledger.domain.data_record import DataOptions
from ledger.errors import DataError
from ledger.hookspecs import DataSource, hookimpl
from ledger.named_files import open_named, read_text

from .image_files import MOST_FILE_BYTES
from .image_listing import SUFFIXES
from .records import Encoded, Found, Records, RecordSource
from .split_names import choose

PREFIX = "wds:"
CLASS_FILES = ("cls", "label", "class")
CLASS_NAMES = ("classes.txt", "classnames.txt", "labels.txt")
"""Files that name the classes, one a line, in order of their numbers."""
KEYS = ("label", "cls", "class", "target")
"""Where a ``.json`` beside an image has its class."""
MOST_LABEL_BYTES = 2**16
LAYOUT = "lay shards out as PATH/train-000000.tar and PATH/test-000000.tar, or in PATH/train/ and PATH/test/"


class _Place(NamedTuple):
    """Where an image lies."""

    shard: Path
    key: str
    begin: int
    size: int
    label: str | int


def read_shards(root: Path) -> Found:
    """Read which images the shards of a folder hold.

    Raises:
        DataError: There are none, or they are laid out in another way.
    """
    splits = _splits(root)
    train, test, others = choose(splits)
    if train is None:
        raise DataError(f"{root} has no shards of training images", LAYOUT)
    places = {name: [one for shard in splits[name] for one in _listed(shard)] for name in (train, test) if name}
    labels, index = _classes(root, [one.label for found in places.values() for one in found])
    return Found(
        where=f"{PREFIX}{root}",
        labels=labels,
        train=_records(places[train], index),
        test=None if test is None else _records(places[test], index),
        files=[*splits[train], *(splits[test] if test else ())],
        notes=[f"shards of other splits are left out: {', '.join(others)}"] if others else (),
    )


def _splits(root: Path) -> dict[str, list[Path]]:
    """Return the shards of each split."""
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", f"name the folder of the shards after {PREFIX}")
    found: dict[str, list[Path]] = defaultdict(list)
    compressed = sorted(root.rglob("*.tar.gz")) + sorted(root.rglob("*.tgz"))
    if compressed:
        raise DataError(
            f"{compressed[0]} is compressed, so nothing in it can be read at random",
            f"decompress the shards once: gunzip {quoted(str(compressed[0]))}",
        )
    for path in sorted(root.rglob("*.tar")):
        inner = path.relative_to(root).parts
        name = inner[0] if len(inner) > 1 else path.stem.partition("-")[0].rstrip("_0123456789") or "train"
        found[name].append(path)
    if not found:
        raise DataError(f"{root} has no .tar files", LAYOUT)
    return found


def _listed(shard: Path) -> list[_Place]:
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, str | int] = {}
    try:
        with open_named(shard) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                # WebDataset's rule: the key ends at the first dot of the file's name.
                folder, slash, name = member.name.rpartition("/")
                base, _, ending = name.partition(".")
                key, ending = f"{folder}{slash}{base}", ending.lower()
                if ending.rpartition(".")[2] in SUFFIXES:
                    images[key] = member.offset_data, member.size
                elif ending in (*CLASS_FILES, "json") and member.size <= MOST_LABEL_BYTES:
                    content = archive.extractfile(member)
                    labels[key] = _label(shard, member.name, content.read() if content else b"")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"cannot read the shard {shard}: {error}", "download or copy it again") from error
    bare = next((key for key in images if key not in labels), None)
    if bare is not None:
        raise DataError(
            f"{shard} has no class beside the image {bare}", "write one as KEY.cls, or as label in KEY.json"
        )
    return [_Place(shard, key, *images[key], labels[key]) for key in images]


def _label(shard: Path, name: str, data: bytes) -> str | int:
    try:
        text = data.decode().strip()
        value = json.loads(text) if name.endswith(".json") or text.lstrip("-").isdigit() else text
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} in {shard} is not a class: {error}", "write its number or its name") from error
    if isinstance(value, dict):
        value = next((value[key] for key in KEYS if key in value), None)
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise DataError(f"{name} in {shard} holds no class", f"write it under one of {', '.join(KEYS)}")
    return value


def _classes(root: Path, found: Sequence[str | int]) -> tuple[list[str], dict[str | int, int]]:
    """Return the labels, and the index of each class as the shards call it."""
    named = next((root / name for name in CLASS_NAMES if (root / name).is_file()), None)
    if all(isinstance(one, int) for one in found):
        numbers = [one for one in found if isinstance(one, int)]
        if min(numbers, default=0) < 0:
            raise DataError(f"{PREFIX}{root} has a class {min(numbers)}", "classes are numbered from 0")
        names = [] if named is None else [line.strip() for line in read_text(named).splitlines() if line.strip()]
        if named is not None and max(numbers) >= len(names):
            raise DataError(f"{named} names {len(names):,} classes, and there is a class {max(numbers):,}")
        labels = names or [str(k) for k in range(max(numbers) + 1)]
        return labels, {k: k for k in range(len(labels))}
    labels = sorted({str(one) for one in found})
    return labels, {one: labels.index(str(one)) for one in set(found)}


def _records(places: Sequence[_Place], index: dict[str | int, int]) -> Records:
    def fetch(positions: Sequence[int]) -> Iterable[Encoded]:
        return (_read(places[position]) for position in positions)

    names = [f"{one.shard.name}/{one.key}" for one in places]
    return Records(names, [index[one.label] for one in places], fetch, [one.key for one in places])


def _read(place: _Place) -> bytes:
    if place.size > MOST_FILE_BYTES:
        raise DataError(f"it has {place.size:,} bytes, more than {MOST_FILE_BYTES:,}")
    try:
        with open_named(place.shard) as file:
            file.seek(place.begin)
            data = file.read(place.size)
    except OSError as error:
        raise DataError(f"cannot read the shard {place.shard}: {error.strerror}") from error
    if len(data) < place.size:
        raise DataError("its shard is truncated")
    return data


@hookimpl
def unledger_data_source(spec: str, options: DataOptions, cache: Path | None) -> DataSource | None:
    """Answer to ``wds:PATH``."""
    if not spec.startswith(PREFIX):
        return None
    return RecordSource(read_shards(Path(spec.removeprefix(PREFIX)).expanduser()), options, cache)
