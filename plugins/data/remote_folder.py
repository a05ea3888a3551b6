"""The layout of ``folder:PATH`` behind a URL: ``folder:s3://bucket/prefix``, or whatever else fsspec knows.

Class by class its content has the digests that the same tree has on a disk: a model goes on where its images moved.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ledger.domain.data_record import DataOptions, SourceContents
from ledger.domain.settings import Preprocessing
from ledger.errors import DataError

from .class_contents import ClassImages, DigestedByClass, read_contents
from .class_folders import LAYOUT, TEST_NAMES, TRAIN_NAMES
from .digest_cache import DigestCache, FileContents
from .held_out import note, parted, require_split
from .image_cache import FOLDER, ImageCache, most_bytes
from .image_contents import MOST_THREADS, ContentsReader
from .image_files import decode_data, examine_data
from .image_listing import ImageFile, ImageList, LeftOut, is_foreign, is_image, normal, shown
from .remote_files import AT_ONCE, RemoteFile, RemoteFiles

Known = dict[str, RemoteFile]
"""Each file, by what it is called in messages."""


class RemoteSplit:
    """Images of one split, fetched when they are needed, ordered by class and then by path.

    Args:
        classes: The images of each class.
        options: How files are read.
        files: Where they are.
        known: The files.
    """

    def __init__(
        self, classes: Sequence[ClassImages], options: DataOptions, files: RemoteFiles, known: Mapping[str, RemoteFile]
    ) -> None:
        skipped = frozenset(options.skipped)
        self.classes = [
            (place, within, images.without({one.removeprefix(f"{shown(within)}/") for one in skipped}))
            for place, within, images in classes
        ]
        self.labels = [index for index, (_, _, images) in enumerate(self.classes) for _ in range(len(images))]
        self._turned = options.upright
        self._remote = files
        self._known = known

    @cached_property
    def _files(self) -> list[RemoteFile]:
        return [self._known[f"{within}/{file.name}"] for _, within, images in self.classes for file in images.files]

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Fetch, decode, resize the shorter side and centre-crop; float32 (n, channels, height, width) in [0, 1]."""

        def one(item: tuple[RemoteFile, bytes]) -> np.ndarray:
            return decode_data(item[1], item[0].path, preprocessing, turned=self._turned)

        arrays: list[np.ndarray] = []
        with ThreadPoolExecutor(max_workers=min(MOST_THREADS, os.cpu_count() or 1)) as pool:
            for start in range(0, len(indices), AT_ONCE):
                part = [self._files[index] for index in indices[start : start + AT_ONCE]]
                arrays += pool.map(one, zip(part, self._remote.fetch(part), strict=True))
        batch = torch.from_numpy(np.stack(arrays)).float() / 255
        return batch.permute(0, 3, 1, 2).contiguous()


class RemoteFolderSource(DigestedByClass):
    """An ImageFolder tree behind a URL; class labels are the sorted names of the training folders.

    Args:
        url: Holds ``train/`` and ``test/``; without the second, a part of each class is set aside if options say so.
        options: How files are read.
        cache: Where digests are remembered; copies of images are kept beside it.

    Raises:
        DataError: There are no such folders, or the driver of the URL is not installed.
        UsageError: There are test images, and yet some are to be set aside.
        TransientError: The URL cannot be reached.
    """

    sets_aside = True
    """It honours ``DataOptions.test_share``."""

    def __init__(self, url: str, options: DataOptions, cache: Path | None) -> None:
        copies = ImageCache(None if cache is None else cache.with_name(FOLDER), most_bytes())
        self._remote = RemoteFiles(url.rstrip("/"), copies)
        self._options = options
        self._cache = cache
        self._left_out = LeftOut()
        self._known: Known = {}
        self._within: dict[Path, str] = {}
        self._notes: tuple[str, ...] = ()
        trained, tested = self._tree()
        strangers = sorted(set(tested) - set(trained))
        if strangers:
            raise DataError(
                f"{self._remote.url} has test images of classes without training images: "
                f"{', '.join(map(shown, strangers[:5]))}",
                "remove them, or name them as in train/",
            )
        self.labels = sorted(trained)
        self.train = RemoteSplit([trained[label] for label in self.labels], options, self._remote, self._known)
        nothing = [(Path(self._remote.url, label), label, ImageList([])) for label in self.labels]
        test = [tested.get(label, none) for label, none in zip(self.labels, nothing, strict=True)]
        self.test = RemoteSplit(test, options, self._remote, self._known)
        copies.keep_only({file.identity for file in self._known.values()})

    def contents(self, begin: Callable[[int], Callable[[], None]], *, check: bool = False) -> SourceContents:
        """Return the digests of each class; with ``check``, decode every image that was not decoded before."""
        return read_contents(
            ContentsReader(DigestCache(self._cache), self._look),
            self.labels,
            self.train.classes,
            self.test.classes,
            begin,
            check=check,
            upright=self._options.upright,
            notes=(*self._left_out.sentences(), *self._notes),
        )

    # -- what there is ------------------------------------------------------------------------------

    def _tree(self) -> tuple[dict[str, ClassImages], dict[str, ClassImages]]:
        """Return the images of both splits, by label."""
        files = self._remote.listed()
        tops = {path.partition("/")[0] for path in files if "/" in path}
        named = {top.lower(): top for top in sorted(tops, reverse=True)}
        train, test = (
            next((named[name] for name in names if name in named), None) for names in (TRAIN_NAMES, TEST_NAMES)
        )
        if test is None and tops and self._options.test_share:
            # As on a disk: the folders of the classes may then lie at the top.
            trained = self._split(files, train or "")
            parts = {label: parted(one, self._options) for label, one in trained.items()}
            self._notes = (note(self._options),)
            return {label: one for label, (one, _) in parts.items()}, {label: one for label, (_, one) in parts.items()}
        if train is None or test is None:
            there = ", ".join(map(shown, sorted(tops)[:5])) or "no folder"
            raise DataError(
                f"{self._remote.url} has no train/ folder beside a test/ or val/ folder, but {there}",
                f"{LAYOUT.replace('PATH', 'URL')}; where there are no test images, set a part of each class aside, "
                "which is recorded: --split 0.8/0.2",
            )
        require_split(self._remote.url, self._options, has_test=True)
        return self._split(files, train), self._split(files, test, may_be_empty=True)

    def _split(
        self, files: Mapping[str, RemoteFile], split: str, *, may_be_empty: bool = False
    ) -> dict[str, ClassImages]:
        """Return the images of one split, by label; those of a split without a name lie in no folder of their own."""
        found: dict[str, dict[str, RemoteFile]] = {}
        top = f"{split}/" if split else ""
        for path in sorted(one for one in files if one.startswith(top)):
            name, _, within = path.removeprefix(top).partition("/")
            if not within:
                self._left_out.note("files outside the folders of classes are left out", path)
            elif any(map(is_foreign, (name, *within.split("/")))):
                self._left_out.note("hidden files and folders are left out", path)
            elif not is_image(within):
                self._left_out.note("files that are not named like images are left out", path)
            else:
                found.setdefault(name, {})[within] = files[path]
        labels: dict[str, ClassImages] = {}
        for name, own in found.items():
            label = normal(name)
            if label in labels or not label.isprintable():
                raise DataError(
                    f"{shown(name)!r} in {self._remote.url}/{top} cannot be the name of a class: it is no text, or "
                    "there twice in two spellings",
                    "rename the folder",
                )
            labels[label] = self._class(split, name, own)
        if not (labels or may_be_empty):
            raise DataError(f"{self._remote.url}/{top} has no folder of a class", LAYOUT.replace("PATH", "URL"))
        return labels

    def _class(self, split: str, folder: str, files: Mapping[str, RemoteFile]) -> ClassImages:
        # Called as the same tree on a disk would call it.
        within = f"{split or self._remote.url.rsplit('/', 1)[-1]}/{folder}"
        place = Path(self._remote.url, split, folder)
        self._within[place] = within
        self._known |= {f"{within}/{name}": file for name, file in files.items()}
        # Part by part, as paths on a disk are ordered.
        ordered = sorted(files, key=lambda name: (normal(name).split("/"), name))
        listed = [(name, files[name].size, 0, 0, files[name].number) for name in ordered]
        return place, within, ImageList(listed)

    def _look(self, place: Path, file: ImageFile, check: bool) -> tuple[FileContents, bool]:  # noqa: FBT001 - as declared
        """Fetch one file; return what it holds, and whether it may be remembered: if changes are told."""
        remote = self._known[f"{self._within[place]}/{file.name}"]
        try:
            [data] = self._remote.fetch([remote])
        except DataError as error:
            return FileContents(b"", error.message), False
        cause, traits = examine_data(data) if check else (None, ())
        return FileContents(hashlib.sha256(data).digest(), cause, traits), bool(remote.state)
