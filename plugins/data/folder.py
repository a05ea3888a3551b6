"""Data source ``folder:PATH`` or ``folder:URL``: images in one folder per class, under ``train/`` and ``test/``."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ledger.domain.data_record import DataOptions, SourceContents
from ledger.domain.settings import Preprocessing
from ledger.errors import DataError
from ledger.hookspecs import DataSource, hookimpl

from .class_contents import ClassImages, DigestedByClass, read_contents
from .class_folders import find_splits, list_class_folders
from .digest_cache import DigestCache
from .held_out import note, parted, require_split
from .image_contents import MOST_THREADS, ContentsReader
from .image_files import decode
from .image_listing import ImageList, LeftOut, list_images, shown
from .remote_folder import RemoteFolderSource

PREFIX = "folder:"


class FolderSplit:
    """Image files of one split, ordered by class and then by path.

    Args:
        classes: The images of each class.
        options: How files are read.
    """

    def __init__(self, classes: Sequence[ClassImages], options: DataOptions) -> None:
        self.classes: list[ClassImages] = []
        self.labels: list[int] = []
        self._turned = options.upright
        skipped = frozenset(options.skipped)
        for index, (folder, within, listed) in enumerate(classes):
            gone = {one.removeprefix(f"{shown(within)}/") for one in skipped}
            images = listed.without(gone) if skipped else listed
            self.classes.append((folder, within, images))
            self.labels += [index] * len(images)

    @cached_property
    def _files(self) -> list[tuple[Path, str]]:
        return [(folder, file.name) for folder, _, images in self.classes for file in images.files]

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Decode, resize the shorter side and centre-crop; float32 (n, channels, height, width) in [0, 1]."""

        def one(index: int) -> np.ndarray:
            folder, name = self._files[index]
            return decode(folder / name, preprocessing, turned=self._turned)

        with ThreadPoolExecutor(max_workers=min(MOST_THREADS, os.cpu_count() or 1)) as pool:
            arrays = list(pool.map(one, indices))
        batch = torch.from_numpy(np.stack(arrays)).float() / 255
        return batch.permute(0, 3, 1, 2).contiguous()

    def listing(self) -> Iterator[str]:
        """Yield every file's relative path and size, one a line, as earlier releases listed them."""
        for folder, _, images in self.classes:
            yield from (f"{folder.name}/{file.name}\t{file.size}\n" for file in images.files)


class FolderSource(DigestedByClass):
    """An ImageFolder tree; class labels are the sorted names of the training folders.

    Args:
        root: Holds ``train/`` and ``test/``; without the second, a part of each class is set aside if options say so.
        options: How files are read.
        cache: Where digests are remembered.
    """

    sets_aside = True
    """It honours ``DataOptions.test_share``."""

    def __init__(self, root: Path, options: DataOptions, cache: Path | None) -> None:
        self._left_out = LeftOut()
        splits = find_splits(root, options)
        require_split(shown(str(root)), options, has_test=splits.test is not None)
        names = list_class_folders(*splits, self._left_out)
        self.labels = sorted(names)
        self._options = options
        self._cache = cache
        self._notes: tuple[str, ...] = ()
        train = [self._listed(splits.train, names[label][0]) for label in self.labels]
        if splits.test is None:
            parts = [parted(one, options) for one in train]
            train, test = [one for one, _ in parts], [one for _, one in parts]
            self._notes = (note(options),)
        else:
            test = [self._listed(splits.test, names[label][1]) for label in self.labels]
        self.train = FolderSplit(train, options)
        self.test = FolderSplit(test, options)

    def _listed(self, root: Path, name: str | None) -> ClassImages:
        """Return a class's images in the folder of a split; ``name`` is None where the class has no folder there."""
        within = f"{root.name}/{name or ''}"
        images = ImageList([]) if name is None else list_images(root / name, within, self._left_out)
        return root / (name or ""), within, images

    @cached_property
    def earlier_digest(self) -> str:
        """Digest of names and sizes."""
        hasher = hashlib.sha256()
        for split, end in ((self.train, "\n"), (self.test, "")):
            hasher.update("".join((*split.listing(), end)).encode(errors="surrogateescape"))
        return hasher.hexdigest()

    def contents(self, begin: Callable[[int], Callable[[], None]], *, check: bool = False) -> SourceContents:
        """Return the digests of each class; with ``check``, decode every image that was not decoded before."""
        return read_contents(
            ContentsReader(DigestCache(self._cache)),
            self.labels,
            self.train.classes,
            self.test.classes,
            begin,
            check=check,
            upright=self._options.upright,
            notes=(*self._left_out.sentences(), *self._notes),
        )


@hookimpl
def unledger_data_source(spec: str, options: DataOptions, cache: Path | None) -> DataSource | None:
    """Answer to ``folder:PATH`` and ``folder:URL``.

    Raises:
        DataError: There are no such folders, or they are laid out in another way.
        TransientError: The URL cannot be reached.
    """
    if not spec.startswith(PREFIX):
        return None
    if "://" in spec:
        return RemoteFolderSource(spec.removeprefix(PREFIX), options, cache)
    try:
        return FolderSource(Path(spec.removeprefix(PREFIX)).expanduser(), options, cache)
    except OSError as error:
        raise DataError(
            f"cannot read {shown(str(error.filename))}: {error.strerror}", "check its permissions"
        ) from error
