"""What the image files of a class consist of: read once, in threads, and remembered."""

import hashlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.domain.data_record import BadImage
from ledger.named_files import open_named

from .digest_cache import SETTLED_NS, DigestCache, FileContents, state
from .header_reader import HeaderReader
from .image_files import examine
from .image_listing import ImageFile, ImageList, normal, shown

MOST_THREADS = 12
"""Files that are read at the same time."""
AT_ONCE = 256
"""Files that are handed to the threads together: a file is often read in less time than a thread takes to begin."""


@dataclass(frozen=True)
class FolderContents:
    """What the images of one class's folder consist of."""

    digest: str
    """Of every image's path and bytes, in order."""
    bad: tuple[BadImage, ...] = ()
    traits: Counter[str] | None = None
    """How many images are changed in a way when they are decoded; None if that was not looked at."""


Look = Callable[[Path, ImageFile, bool], tuple[FileContents, bool]]
"""Reads one file of a folder, and decodes it if asked to; returns what was found, and whether it may be remembered."""


class ContentsReader:
    """Reads folders of images, and what a cache does not remember of them.

    Args:
        cache: What is remembered.
        look: Reads one file; if not given, one of this machine.
    """

    def __init__(self, cache: DigestCache, look: Look | None = None) -> None:
        self._cache = cache
        self._look = look or _look

    def read(
        self,
        folders: Sequence[tuple[Path, str, ImageList]],
        begin: Callable[[int], Callable[[], None]],
        *,
        check: bool,
    ) -> list[FolderContents]:
        """Return the contents of each folder.

        Args:
            folders: Of each: its path, what to call it in messages, and its images.
            begin: Called with the number of images to be read, if there are any; returns what to call after each.
            check: Also decode what was not decoded before.
        """
        known = [self._remembered(*one, check=check) for one in folders]
        plans = [None if done else self._plan(*one, check=check) for one, done in zip(folders, known, strict=True)]
        total = sum(len(plan.unread) for plan in plans if plan)
        step = begin(total) if total else _nothing
        found: list[FolderContents] = []
        with ThreadPoolExecutor(max_workers=min(MOST_THREADS, os.cpu_count() or 1)) as pool:
            for one, done, plan in zip(folders, known, plans, strict=True):
                found.append(done or self._read(*one, plan or _Plan({}, ()), pool, step, check=check))
        self._cache.close()
        return found

    def _remembered(self, folder: Path, within: str, images: ImageList, *, check: bool) -> FolderContents | None:
        summary = self._cache.folder(images.fingerprint(os.fspath(folder)))
        try:
            return None if summary is None else _of_summary(summary, within, check=check)
        except (KeyError, TypeError, ValueError):
            return None

    def _plan(self, folder: Path, _within: str, images: ImageList, *, check: bool) -> "_Plan":
        remembered, files = self._cache.files(images.place(os.fspath(folder))), images.files
        found = {file.name: remembered.get((file.name, state(file))) for file in files if not file.cause}
        known = {name: one for name, one in found.items() if one is not None and not (check and one.cause is None)}
        return _Plan(known, tuple(file for file in files if not file.cause and file.name not in known))

    def _read(
        self,
        folder: Path,
        within: str,
        images: ImageList,
        plan: "_Plan",
        pool: ThreadPoolExecutor,
        step: Callable[[], None],
        *,
        check: bool,
    ) -> FolderContents:
        findings, files = dict(plan.known), images.files
        restless = {file.name for file in files if file.cause}
        for part in _parts(plan.unread, AT_ONCE):
            for file, (finding, calm) in zip(
                part, pool.map(lambda one: self._look(folder, one, check), part), strict=True
            ):
                findings[file.name] = finding
                if not calm:
                    restless.add(file.name)
                step()
        findings |= {file.name: FileContents(b"", file.cause) for file in files if file.cause}
        summary = _summary(files, findings, check=check)
        if plan.unread or not restless:
            pairs = ((file, findings[file.name]) for file in files if file.name not in restless)
            fingerprint = None if restless else images.fingerprint(os.fspath(folder))
            self._cache.remember(images.place(os.fspath(folder)), fingerprint, summary, pairs)
        found = _of_summary(summary, within, check=check)
        if found is None:
            raise ValueError(summary)
        return found


@dataclass(frozen=True)
class _Plan:
    known: dict[str, FileContents]
    unread: tuple[ImageFile, ...]


def _nothing() -> None:
    """Take note of nothing."""


def _parts(files: Sequence[ImageFile], size: int) -> Iterator[tuple[ImageFile, ...]]:
    rest = iter(files)
    while part := tuple(itertools.islice(rest, size)):
        yield part


def _look(folder: Path, file: ImageFile, check: bool) -> tuple[FileContents, bool]:  # noqa: FBT001 - called by map
    """Read one file; return what was found, and whether it may be remembered."""
    path, began = folder / file.name, time.time_ns()
    cause: str | None = None
    traits: tuple[str, ...] = ()
    try:
        with HeaderReader(open_named(path)) as opened:
            size = os.fstat(opened.fileno()).st_size
            digest = hashlib.file_digest(opened, "sha256").digest()
            if check:
                opened.seek(0)
                cause, traits = examine(opened)
        after = path.stat()
    except OSError as error:
        return FileContents(b"", error.strerror or type(error).__name__), False
    now = size, after.st_mtime_ns, after.st_ctime_ns, after.st_ino
    calm = now == file[1:5] and began - max(file.modified_ns, file.changed_ns) > SETTLED_NS
    return FileContents(digest, cause, traits), calm


def _summary(files: Sequence[ImageFile], findings: Mapping[str, FileContents], *, check: bool) -> dict[str, Any]:
    """Return what is worth knowing of a folder, as JSON values."""
    hasher = hashlib.sha256()
    for file in files:
        hasher.update(normal(file.name).encode(errors="surrogateescape") + b"\0" + findings[file.name].digest)
    checked = {
        "bad": [[shown(file.name), findings[file.name].cause] for file in files if findings[file.name].cause],
        "traits": Counter(trait for file in files for trait in findings[file.name].traits),
    }
    return {"digest": hasher.hexdigest()} | (checked if check else {})


def _of_summary(summary: Mapping[str, Any], within: str, *, check: bool) -> FolderContents | None:
    """Return the contents that :func:`_summary` tells of; None if it does not say what is asked.

    Raises:
        KeyError: It lacks something.
        TypeError: Something is not what it should be.
        ValueError: So it is.
    """
    digest = summary["digest"]
    if len(bytes.fromhex(digest)) != hashlib.sha256().digest_size:
        raise ValueError(digest)
    if "traits" not in summary:
        return None if check else FolderContents(digest)
    bad = tuple(BadImage(f"{within}/{name}", str(cause)) for name, cause in summary["bad"])
    return FolderContents(digest, bad, Counter(summary["traits"]))
