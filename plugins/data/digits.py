"""Data source ``digits``: scikit-learn's bundled handwritten digits, 1,797 real scans of 8x8 pixels."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from ledger.digest import sha256_hex
from ledger.hookspecs import DataSource, hookimpl

from .image_arrays import ArraySplit


class Scans(NamedTuple):
    """Scanned digits."""

    images: np.ndarray
    """uint8, shape (n, 8, 8, 1)."""
    digits: np.ndarray
    """Which digit each shows."""


def split_scans() -> tuple[Scans, Scans]:
    """Return three quarters for training and one for test, stratified by digit, the same at every call."""
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    train, test = train_test_split(np.arange(len(images)), test_size=0.25, random_state=0, stratify=bunch.target)
    return Scans(images[train], bunch.target[train]), Scans(images[test], bunch.target[test])


class Digits:
    """The ten digits, split by :func:`split_scans`."""

    def __init__(self) -> None:
        train, test = split_scans()
        self.labels = [str(digit) for digit in range(10)]
        self.train = ArraySplit(*train)
        self.test = ArraySplit(*test)
        self.digest = sha256_hex(train.images.tobytes() + test.images.tobytes())


@hookimpl
def unledger_data_source(spec: str) -> DataSource | None:
    """Answer to ``digits``."""
    return Digits() if spec == "digits" else None
