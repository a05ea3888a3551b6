"""Data source ``folder:PATH``: images in one folder per class, under ``train/`` and ``test/`` or ``val/``."""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from ledger.domain.settings import Preprocessing
from ledger.errors import DataError
from ledger.hookspecs import DataSource, hookimpl

from .image_files import decode

PREFIX = "folder:"
MOST_THREADS = 12
"""Images that are decoded at the same time."""
TEST_NAMES = ("test", "val", "validation")


class FolderSplit:
    """Image files of one split, ordered by class and then by path."""

    def __init__(self, root: Path, labels: Sequence[str]) -> None:
        self._files: list[Path] = []
        self._sizes: list[int] = []
        self.labels: list[int] = []
        for index, label in enumerate(labels):
            for path, size in _image_files(root / label):
                self._files.append(path)
                self._sizes.append(size)
                self.labels.append(index)
        self._root = root

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Decode, resize the shorter side and centre-crop; float32 (n, channels, height, width) in [0, 1]."""
        with ThreadPoolExecutor(max_workers=min(MOST_THREADS, os.cpu_count() or 1)) as pool:
            arrays = list(pool.map(lambda i: decode(self._files[i], preprocessing), indices))
        batch = torch.from_numpy(np.stack(arrays)).float() / 255
        return batch.permute(0, 3, 1, 2).contiguous()

    def listing(self) -> str:
        """Return every file's relative path and size, one a line."""
        sizes = zip(self._files, self._sizes, strict=True)
        return "".join(f"{file.relative_to(self._root)}\t{size}\n" for file, size in sizes)


def _image_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield files named like images in a folder and the folders in it, with their sizes, in order of path.

    Links to files are followed, links to folders are not.

    Raises:
        DataError: Something of such a name is neither a file nor a folder; names it.
    """
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS):
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"cannot read the image {path}: {error.strerror}", "replace or remove it") from error
        if stat.S_ISREG(status.st_mode):
            yield path, status.st_size
        elif not stat.S_ISDIR(status.st_mode):
            raise DataError(f"the image {path} is not a regular file", "replace or remove it")
        # Folders are searched for images, whatever they are called.


class FolderSource:
    """An ImageFolder tree; class labels are the sorted names of the training folders."""

    def __init__(self, root: Path) -> None:
        train = root / "train"
        test = next((root / name for name in TEST_NAMES if (root / name).is_dir()), None)
        if not train.is_dir() or test is None:
            raise DataError(
                f"{root} has no train/ folder beside a test/ or val/ folder",
                "lay the images out as PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg",
            )
        self.labels = sorted(entry.name for entry in train.iterdir() if entry.is_dir())
        for label in self.labels:
            # What is no UTF-8 on disk comes as halves of characters, which no database takes.
            if not label.isprintable():
                raise DataError(f"{label!r} in {train} cannot be the name of a class", "rename the folder")
        strangers = sorted({e.name for e in test.iterdir() if e.is_dir()} - set(self.labels))
        if strangers:
            raise DataError(f"{test} has classes that train/ lacks: {', '.join(strangers)}")
        self.train = FolderSplit(train, self.labels)
        self.test = FolderSplit(test, self.labels)
        listing = self.train.listing() + "\n" + self.test.listing()
        self.digest = hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()


@hookimpl
def unledger_data_source(spec: str) -> DataSource | None:
    """Answer to ``folder:PATH``."""
    return FolderSource(Path(spec.removeprefix(PREFIX)).expanduser()) if spec.startswith(PREFIX) else None
