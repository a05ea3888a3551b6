"""Data sources whose classes are in another order than the model's outputs, or are only some of them."""

import unicodedata
from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from ledger.domain.settings import Preprocessing
from ledger.errors import DataError
from ledger.hookspecs import DataSource, Split


def require_images(source: DataSource, labels: Sequence[str], hint: str) -> None:
    """Require training and test images of every class.

    Args:
        source: The source.
        labels: The classes that must have images.
        hint: Shown to the user beside the error.

    Raises:
        DataError: Some classes have none; the message names the first five.
    """
    for name, split in (("train", source.train), ("test", source.test)):
        present = {unicodedata.normalize("NFC", source.labels[k]) for k in set(split.labels)}
        missing = [label for label in labels if label not in present]
        if missing:
            raise DataError(f"no {name} images of {', '.join(missing[:5])}", hint)


class RelabelledSplit:
    """A split with its labels translated.

    Args:
        split: The original.
        indices: The model's index of each of the source's classes.
    """

    def __init__(self, split: Split, indices: Sequence[int]) -> None:
        self._split = split
        self._indices = indices

    @cached_property
    def labels(self) -> Sequence[int]:
        """The model's class index of each image."""
        return [self._indices[label] for label in self._split.labels]

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Return images as float32 in [0, 1], shape (n, channels, height, width)."""
        return self._split.pixels(indices, preprocessing)


class RelabelledSource:
    """A data source whose labels are some or all of the model's.

    Args:
        source: The original.
        labels: The model's labels, spelled in NFC; every one of the source's is among them.
    """

    def __init__(self, source: DataSource, labels: Sequence[str]) -> None:
        self.labels = labels
        self.digest = source.digest
        indices = [labels.index(unicodedata.normalize("NFC", label)) for label in source.labels]
        self.train = RelabelledSplit(source.train, indices)
        self.test = RelabelledSplit(source.test, indices)
