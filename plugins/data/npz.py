"""Data source ``npz:PATH``: one NumPy archive with ``x_train``, ``y_train``, ``x_test``, ``y_test``."""

import hashlib
from pathlib import Path

import numpy as np

from ledger.errors import DataError
from ledger.hookspecs import DataSource, hookimpl

from .image_arrays import ArraySplit

PREFIX = "npz:"
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


class NpzSource:
    """Images (n, height, width[, channels]), uint8 or floating in [0, 1]; labels 0 to K - 1.

    An optional array ``labels`` of strings names the classes; without it they are called by index.
    """

    def __init__(self, path: Path) -> None:
        try:
            # Opened here: numpy leaves a file open that turns out to be no archive.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in (*ARRAYS, "labels") if name in archive}
        except FileNotFoundError:
            raise DataError(f"there is no file {path}", "check the path after npz:") from None
        # What the readers of broken archives raise is not written down anywhere.
        except Exception as error:
            raise DataError(f"{path} is not a readable .npz archive of plain arrays: {error}") from error
        missing = [name for name in ARRAYS if name not in arrays]
        if missing:
            raise DataError(f"{path} lacks {', '.join(missing)}", f"an npz source holds {', '.join(ARRAYS)}")
        for split in ("train", "test"):
            _check_labels(path, split, arrays[f"x_{split}"], arrays[f"y_{split}"])
        highest = int(max(arrays["y_train"].max(initial=-1), arrays["y_test"].max(initial=-1)))
        if "labels" not in arrays and highest >= len(arrays["y_train"]):
            raise DataError(f"{path} has class {highest} but only {len(arrays['y_train'])} training images")
        self.labels = [str(x) for x in arrays.get("labels", np.arange(highest + 1))]
        if highest >= len(self.labels):
            raise DataError(f"{path} has class {highest} but names only {len(self.labels)} classes")
        self.train = ArraySplit(_images(path, arrays["x_train"]), arrays["y_train"])
        self.test = ArraySplit(_images(path, arrays["x_test"]), arrays["y_test"])
        hasher = hashlib.sha256()
        for name in ARRAYS:
            hasher.update(np.ascontiguousarray(arrays[name]).data)
        self.digest = hasher.hexdigest()


def _check_labels(path: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
        raise DataError(f"y_{split} in {path} is not a list of class indices from 0", "store integers of shape (n,)")
    if len(images) != len(labels):
        raise DataError(f"{path} has {len(images)} images in x_{split} but {len(labels)} labels in y_{split}")


def _images(path: Path, images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise DataError(f"images in {path} have shape {images.shape}, not (n, height, width, channels)")
    floating = np.issubdtype(images.dtype, np.floating)
    if images.dtype != np.uint8 and not (floating and ((images >= 0) & (images <= 1)).all()):
        raise DataError(f"images in {path} must be uint8, or floating values in [0, 1]")
    return images


@hookimpl
def unledger_data_source(spec: str) -> DataSource | None:
    """Answer to ``npz:PATH``."""
    return NpzSource(Path(spec.removeprefix(PREFIX)).expanduser()) if spec.startswith(PREFIX) else None
