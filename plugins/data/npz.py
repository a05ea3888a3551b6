"""Data source ``npz:PATH``: one NumPy archive with ``x_train``, ``y_train``, ``x_test``, ``y_test``."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from ledger.digest import json_digest
from ledger.domain.data_record import ClassContent, SourceContents
from ledger.errors import DataError
from ledger.hookspecs import DataSource, hookimpl

from .array_archive import read_arrays
from .image_arrays import ArraySplit

PREFIX = "npz:"
MOST_IMAGES = 4_000_000
"""Most images of a split. Several Python objects are made for each."""
MOST_CLASSES = 65_536
"""Most classes: a network is built with an output for each."""
MOST_VALUES = 48_000_000
"""Most values of one image: 4,000 x 4,000 pixels of three channels."""
MOST_SIDE = 65_535
"""Largest height and width in pixels, as for image files."""
PIECE_BYTES = 2**24
"""About how many bytes of an array are looked at at once."""
FLOATING = {np.dtype(name) for name in ("float16", "float32", "float64")}
"""Types of floating images, in this machine's order of bytes: what torch takes."""
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


class NpzSource:
    """Images (n, height, width[, channels]), uint8 or floating in [0, 1]; labels 0 to K - 1.

    An optional array ``labels`` of strings names the classes; without it they are called by index.
    """

    def __init__(self, path: Path) -> None:
        arrays = read_arrays(path, (*ARRAYS, "labels"))
        missing = [name for name in ARRAYS if name not in arrays]
        if missing:
            raise DataError(f"{path} lacks {', '.join(missing)}", f"an npz source holds {', '.join(ARRAYS)}")
        for split in ("train", "test"):
            _check_labels(path, split, arrays[f"x_{split}"], arrays[f"y_{split}"])
        highest = max(int(labels.max()) if len(labels) else -1 for labels in (arrays["y_train"], arrays["y_test"]))
        if "labels" in arrays and arrays["labels"].ndim != 1:
            raise DataError(f"labels in {path} is not a list of names", "store texts of shape (K,)")
        if "labels" not in arrays and highest >= len(arrays["y_train"]):
            raise DataError(f"{path} has class {highest} but only {len(arrays['y_train'])} training images")
        count = len(arrays["labels"]) if "labels" in arrays else highest + 1
        if highest >= count:
            raise DataError(f"{path} has class {highest} but names only {count} classes")
        if count > MOST_CLASSES:
            raise DataError(f"{path} has {count:,} classes, more than {MOST_CLASSES:,}")
        self.labels = [str(label) for label in arrays.get("labels", np.arange(count))]
        self.train = ArraySplit(_images(path, arrays["x_train"]), arrays["y_train"])
        self.test = ArraySplit(_images(path, arrays["x_test"]), arrays["y_test"])
        self._arrays = arrays

    @cached_property
    def digest(self) -> str:
        """Digest of every image of each class, and of the names of classes."""
        return json_digest({label: [one.train, one.test] for label, one in self._classes.items()})

    @cached_property
    def earlier_digest(self) -> str:
        """Digest of the arrays, without the names of classes."""
        hasher = hashlib.sha256()
        for name in ARRAYS:
            for piece in _pieces(self._arrays[name]):
                hasher.update(np.ascontiguousarray(piece).data)
        return hasher.hexdigest()

    @cached_property
    def _classes(self) -> dict[str, ClassContent]:
        splits = [_digests(self._arrays[f"x_{s}"], self._arrays[f"y_{s}"], len(self.labels)) for s in ("train", "test")]
        return {
            label: ClassContent(train, test, train_images, test_images)
            for label, (train, train_images), (test, test_images) in zip(self.labels, *splits, strict=True)
        }

    def contents(self, _begin: Callable[[int], Callable[[], None]], *, check: bool = False) -> SourceContents:
        """Return the digests of each class; arrays that could be read hold no image that cannot."""
        del check
        return SourceContents(self._classes)


def _digests(images: np.ndarray, labels: np.ndarray, classes: int) -> list[tuple[str, int]]:
    """Return the digest of each class's images, in their order, and their number."""
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(classes + 1))
    found = []
    for begin, end in itertools.pairwise(ends):
        # The same pixels of another type or shape are read in another way.
        hasher = hashlib.sha256(f"{images.dtype.str} {images.shape[1:]}".encode())
        for piece in _pieces(order[begin:end], images.nbytes // max(1, len(images))):
            hasher.update(np.ascontiguousarray(images[piece]).data)
        found.append((hasher.hexdigest(), int(end - begin)))
    return found


def _pieces(array: np.ndarray, row_bytes: int = 0) -> Iterator[np.ndarray]:
    """Yield an array row by row, or many small rows at once: nothing of its whole size is made beside it.

    Args:
        array: What to go through.
        row_bytes: Bytes that each row stands for; 0 for its own.
    """
    rows = max(1, PIECE_BYTES // row_bytes if row_bytes else PIECE_BYTES * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def _check_labels(path: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
        raise DataError(f"y_{split} in {path} is not a list of class indices from 0", "store integers of shape (n,)")
    count = len(images) if images.ndim else 0
    if count != len(labels):
        raise DataError(f"{path} has {count} images in x_{split} but {len(labels)} labels in y_{split}")
    if len(labels) > MOST_IMAGES:
        raise DataError(f"{path} has {len(labels):,} images in x_{split}, more than {MOST_IMAGES:,}")


def _images(path: Path, images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise DataError(f"images in {path} have shape {images.shape}, not (n, height, width, channels)")
    if images[:1].size > MOST_VALUES or max(images.shape[1:]) > MOST_SIDE:
        raise DataError(
            f"images in {path} have shape {images.shape[1:]}; "
            f"at most {MOST_VALUES:,} values are read, and {MOST_SIDE:,} in a row"
        )
    floating = images.dtype in FLOATING and all(((x >= 0) & (x <= 1)).all() for x in _pieces(images))
    if images.dtype != np.uint8 and not floating:
        raise DataError(f"images in {path} must be uint8, or floating values in [0, 1]")
    return images


@hookimpl
def unledger_data_source(spec: str) -> DataSource | None:
    """Answer to ``npz:PATH``."""
    return NpzSource(Path(spec.removeprefix(PREFIX)).expanduser()) if spec.startswith(PREFIX) else None
