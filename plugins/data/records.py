"""Sources whose images are records of files: one encoded image each, fetched when it is needed.

What a source consists of is read once and remembered for as long as none of its files changed. Images are never held
together: they are fetched, decoded or hashed, and let go.
"""

import hashlib
import itertools
import marshal
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ledger.domain.data_record import BadImage, ClassContent, DataOptions, SourceContents
from ledger.domain.settings import Preprocessing
from ledger.errors import DataError

from .class_contents import DigestedByClass
from .digest_cache import SETTLED_NS, DigestCache
from .held_out import note, require_split, set_aside
from .image_contents import MOST_THREADS
from .image_files import decode_data, examine_data
from .image_traits import read_as

Encoded = bytes | Image.Image
"""An image: the bytes of its file, or decoded where a library does that."""
AT_ONCE = 256
"""Images that are fetched together."""
MOST_IMAGES = 16_000_000
"""Most images of a split. Several Python objects are made for each."""


@dataclass(frozen=True)
class Records:
    """The images of one split."""

    names: Sequence[str]
    """What each is called in messages, and in the list of those that are left out."""
    labels: Sequence[int]
    """Class index of each."""
    fetch: Callable[[Sequence[int]], Iterable[Encoded]]
    """Returns images by position, in the order asked for."""
    keys: Sequence[str] = ()
    """What of each name belongs to the content; none where images only have a place in a file."""

    def only(self, positions: Sequence[int]) -> "Records":
        """Return some of the images, in the order given."""
        chosen = list(positions)
        return Records(
            [self.names[k] for k in chosen],
            [self.labels[k] for k in chosen],
            lambda wanted: self.fetch([chosen[k] for k in wanted]),
            [self.keys[k] for k in chosen] if self.keys else (),
        )


@dataclass(frozen=True)
class Found:
    """What a source consists of."""

    where: str
    """The source, as people are told."""
    labels: Sequence[str]
    train: Records
    test: Records | None
    """None if it has no test images."""
    files: Sequence[Path]
    """Files that all of this is read from."""
    notes: Sequence[str] = field(default=())
    """What was left out."""


class RecordSplit:
    """One split.

    Args:
        records: Its images.
        turned: Whether to turn images as their EXIF orientation says.
    """

    def __init__(self, records: Records, *, turned: bool) -> None:
        self.records = records
        self.labels: Sequence[int] = records.labels
        self._turned = turned

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Decode, resize and crop; float32 (n, channels, height, width) in [0, 1]."""

        def one(item: tuple[int, Encoded]) -> np.ndarray:
            index, data = item
            return decode_data(data, self.records.names[index], preprocessing, turned=self._turned)

        # In parts: images are only held while they are decoded.
        arrays: list[np.ndarray] = []
        with ThreadPoolExecutor(max_workers=min(MOST_THREADS, os.cpu_count() or 1)) as pool:
            for part in _parts(indices):
                arrays += pool.map(one, zip(part, self.records.fetch(part), strict=True))
        return (torch.from_numpy(np.stack(arrays)).float() / 255).permute(0, 3, 1, 2).contiguous()


class RecordSource(DigestedByClass):
    """A source of records.

    Args:
        found: What it consists of.
        options: How it is read.
        cache: Where digests are remembered.
    """

    sets_aside = True
    """It honours ``DataOptions.test_share``."""

    def __init__(self, found: Found, options: DataOptions, cache: Path | None) -> None:
        require_split(found.where, options, has_test=found.test is not None)
        train, test, notes = found.train, found.test, list(found.notes)
        if test is None:
            kept, aside = set_aside(train.names, train.labels, options)
            train, test = train.only(kept), train.only(aside)
            notes.append(note(options))
        skipped = frozenset(options.skipped)
        if skipped:
            train, test = (one.only([k for k, n in enumerate(one.names) if n not in skipped]) for one in (train, test))
        for split, records in (("training", train), ("test", test)):
            if len(records.labels) > MOST_IMAGES:
                raise DataError(f"{found.where} has {len(records.labels):,} {split} images, more than {MOST_IMAGES:,}")
        self.labels = list(found.labels)
        self.train = RecordSplit(train, turned=options.upright)
        self.test = RecordSplit(test, turned=options.upright)
        self._found, self._options, self._cache, self._notes = found, options, DigestCache(cache), notes

    def contents(self, begin: Callable[[int], Callable[[], None]], *, check: bool = False) -> SourceContents:
        """Return the digests of each class; with ``check``, decode every image that was not decoded before."""
        states, newest = _states(self._found.files)
        options = [self._options.test_share, self._options.split_seed, sorted(self._options.skipped)]
        known = hashlib.sha256(marshal.dumps((self._found.where, options, states), 2)).digest()
        summary = self._cache.folder(known)
        if summary is None or (check and "traits" not in summary):
            began = time.time_ns()
            summary = self._summary(begin, check=check)
            calm = began - newest > SETTLED_NS and _states(self._found.files)[0] == states
            if calm:
                self._cache.remember(self._found.where, known, summary, ())
        self._cache.close()
        return self._of_summary(summary)

    def _summary(self, begin: Callable[[int], Callable[[], None]], *, check: bool) -> dict[str, Any]:
        """Read every image; return what is worth knowing as JSON values."""
        splits = (self.train.records, self.test.records)
        step = begin(sum(len(one.labels) for one in splits))
        traits: Counter[str] = Counter()
        bad: list[list[str]] = []
        digests: list[list[str]] = []
        for records in splits:
            hashers = [hashlib.sha256() for _ in self.labels]
            for index, digest, cause, found in _examined(records, check=check):
                key = records.keys[index] if records.keys else ""
                hashers[records.labels[index]].update(key.encode(errors="surrogateescape") + b"\0" + digest)
                traits.update(found)
                if cause:
                    bad.append([records.names[index], cause])
                step()
            digests.append([hasher.hexdigest() for hasher in hashers])
        return {"digests": digests} | ({"bad": bad, "traits": traits} if check else {})

    def _of_summary(self, summary: Mapping[str, Any]) -> SourceContents:
        counts = [Counter(split.labels) for split in (self.train, self.test)]
        train, test = summary["digests"]
        classes = {
            label: ClassContent(train[k], test[k], counts[0][k], counts[1][k]) for k, label in enumerate(self.labels)
        }
        bad = tuple(BadImage(name, cause) for name, cause in summary.get("bad", ()))
        told = read_as(Counter(summary.get("traits", {})), upright=self._options.upright)
        return SourceContents(classes, bad, (*self._notes, *told))


def _examined(records: Records, *, check: bool) -> Iterator[tuple[int, bytes, str, tuple[str, ...]]]:
    """Yield position, digest, why it cannot be decoded, and traits of every image."""

    def one(data: Encoded | DataError) -> tuple[bytes, str, tuple[str, ...]]:
        if isinstance(data, DataError):
            return b"", data.message, ()
        return _digest(data), *(examine_data(data) if check else ("", ()))

    with ThreadPoolExecutor(max_workers=min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        for part in _parts(range(len(records.labels))):
            for index, (digest, cause, traits) in zip(part, pool.map(one, _fetched(records, part)), strict=True):
                yield index, digest, cause, traits


def _fetched(records: Records, part: Sequence[int]) -> list[Encoded | DataError]:
    try:
        return list(records.fetch(part))
    except DataError:
        # One by one, so that only those are named that cannot be read.
        return [_one(records, index) for index in part]


def _one(records: Records, index: int) -> Encoded | DataError:
    try:
        return next(iter(records.fetch([index])))
    except DataError as error:
        return error


def _digest(data: Encoded) -> bytes:
    if isinstance(data, bytes):
        return hashlib.sha256(data).digest()
    # The same values of another kind or shape are another image.
    return hashlib.sha256(f"{data.mode} {data.size}\0".encode() + data.tobytes()).digest()


def _parts(indices: Sequence[int]) -> Iterator[list[int]]:
    rest = iter(indices)
    while part := list(itertools.islice(rest, AT_ONCE)):
        yield part


def _states(files: Sequence[Path]) -> tuple[list[tuple[str, int, int, int, int]], int]:
    """Return what tells whether files changed, and when the last change was, in nanoseconds."""
    found, newest = [], 0
    for path in files:
        try:
            status = path.stat()
        except OSError:
            found.append((os.fspath(path), -1, 0, 0, 0))
            continue
        found.append((os.fspath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
        newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
    return found, newest


def class_names(named: Iterable[str]) -> tuple[list[str], dict[str, int]]:
    """Return the labels of a source that calls classes by name, sorted, and the index of each."""
    labels = sorted(set(named))
    return labels, {label: k for k, label in enumerate(labels)}
