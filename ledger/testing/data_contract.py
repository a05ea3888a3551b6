"""The contract of a data source: labelled images that are the same whenever, and in whatever order, they are read."""

import re
from collections.abc import Callable, Sequence

import torch

from ledger.domain.settings import Preprocessing
from ledger.hookspecs import DataSource, Split

GREY = Preprocessing(1, 16, 16, (0.5,), (0.5,))
COLOUR = Preprocessing(3, 12, 20, (0.5,) * 3, (0.5,) * 3)
MOST_READ = 8
"""Images of each split that are read."""


def check_data_source(
    open_source: Callable[[], DataSource], preprocessings: Sequence[Preprocessing] = (GREY, COLOUR)
) -> None:
    """Check that a data source keeps its contract.

    Args:
        open_source: Opens it anew at each call.
        preprocessings: What networks may expect of its images.

    Raises:
        AssertionError: It does not; says what is wrong.
    """
    source, again = open_source(), open_source()
    labels = list(source.labels)
    _require(len(labels) >= 2, f"it has {len(labels)} classes")
    _require(all(isinstance(label, str) and label for label in labels), "a label is no text, or empty")
    _require(len(set(labels)) == len(labels), "two classes have one label")
    _require(
        re.fullmatch(r"[0-9a-f]{64}", source.digest), f"its digest is {source.digest!r}, no SHA-256 in hexadecimal"
    )
    _require(list(again.labels) == labels and again.digest == source.digest, "opened again, it is another")
    for name in ("train", "test"):
        _check_split(name, getattr(source, name), getattr(again, name), len(labels), preprocessings)


def _check_split(name: str, split: Split, again: Split, classes: int, preprocessings: Sequence[Preprocessing]) -> None:
    found = [int(label) for label in split.labels]
    _require(set(found) == set(range(classes)), f"split {name} has images of classes {sorted(set(found))} of {classes}")
    _require(found == [int(label) for label in again.labels], f"opened again, split {name} has other labels")
    step = max(1, len(found) // MOST_READ)
    indices = list(range(0, len(found), step))[:MOST_READ]
    for preprocessing in preprocessings:
        images = split.pixels(indices, preprocessing)
        shape = (len(indices), preprocessing.channels, preprocessing.height, preprocessing.width)
        _require(tuple(images.shape) == shape, f"split {name} returns {tuple(images.shape)}, not {shape}")
        _require(images.dtype == torch.float32, f"split {name} returns {images.dtype}")
        _require(bool(torch.isfinite(images).all()), f"split {name} returns NaN or infinity")
        low, high = float(images.min()), float(images.max())
        _require(low >= 0 and high <= 1, f"split {name} returns values from {low:.3g} to {high:.3g}, not within [0, 1]")
        alone = torch.cat([again.pixels([index], preprocessing) for index in reversed(indices)]).flip(0)
        _require(torch.equal(images, alone), f"split {name} returns other pixels one by one, or in another order")


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise AssertionError(f"the data source breaks its contract: {otherwise}")
