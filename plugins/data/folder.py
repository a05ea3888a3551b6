"""Data source ``folder:PATH``: images in one folder per class, under ``train/`` and ``test/`` or ``val/``."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from ledger.domain.settings import Preprocessing
from ledger.errors import DataError
from ledger.hookspecs import DataSource, hookimpl

PREFIX = "folder:"
TEST_NAMES = ("test", "val", "validation")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class FolderSplit:
    """Image files of one split, ordered by class and then by path."""

    def __init__(self, root: Path, labels: Sequence[str]) -> None:
        self._files: list[Path] = []
        self.labels: list[int] = []
        for index, label in enumerate(labels):
            files = sorted(f for f in (root / label).rglob("*") if f.suffix.lower() in IMG_EXTENSIONS)
            self._files += files
            self.labels += [index] * len(files)
        self._root = root

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Decode, resize the shorter side and centre-crop; float32 (n, channels, height, width) in [0, 1]."""
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            arrays = list(pool.map(lambda i: _decode(self._files[i], preprocessing), indices))
        batch = torch.from_numpy(np.stack(arrays)).float() / 255
        return batch.permute(0, 3, 1, 2).contiguous()

    def listing(self) -> str:
        """Return every file's relative path and size, one a line."""
        return "".join(f"{f.relative_to(self._root)}\t{f.stat().st_size}\n" for f in self._files)


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
        strangers = sorted({e.name for e in test.iterdir() if e.is_dir()} - set(self.labels))
        if strangers:
            raise DataError(f"{test} has classes that train/ lacks: {', '.join(strangers)}")
        self.train = FolderSplit(train, self.labels)
        self.test = FolderSplit(test, self.labels)
        listing = self.train.listing() + "\n" + self.test.listing()
        self.digest = hashlib.sha256(listing.encode()).hexdigest()


def _decode(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Return one image as uint8 (height, width, channels).

    Raises:
        DataError: The file is not a readable image. It is never skipped, because the record of what was used must be
            true.
    """
    height, width = preprocessing.height, preprocessing.width
    mode = MODES.get(preprocessing.channels)
    if mode is None:
        raise DataError(f"images have 1, 3 or 4 channels, the model takes {preprocessing.channels}")
    try:
        with Image.open(path) as opened:
            image = opened.convert(mode)
    # What the decoders of broken files raise is not written down anywhere.
    except Exception as error:
        raise DataError(f"cannot read the image {path}: {error}", "replace or remove the file") from error
    if image.size != (width, height):
        scale = max(width / image.width, height / image.height) / preprocessing.crop_fraction
        enlarged = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
        image = image.resize(enlarged, RESAMPLING.get(preprocessing.interpolation, Image.Resampling.BICUBIC))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


@hookimpl
def unledger_data_source(spec: str) -> DataSource | None:
    """Answer to ``folder:PATH``."""
    return FolderSource(Path(spec.removeprefix(PREFIX)).expanduser()) if spec.startswith(PREFIX) else None
