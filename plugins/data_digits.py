"""Data source ``digits``: scikit-learn's bundled handwritten digits, 1,797 real scans of 8x8 pixels."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from ledger.digest import sha256_hex
from ledger.hookspecs import DataSource, hookimpl

from .image_arrays import ArraySplit


class Digits:
    """Three quarters for training, one for test, stratified by class, the same at every call."""

    def __init__(self) -> None:
        bunch = load_digits()
        images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
        train, test = train_test_split(np.arange(len(images)), test_size=0.25, random_state=0, stratify=bunch.target)
        self.labels = [str(digit) for digit in range(10)]
        self.train = ArraySplit(images[train], bunch.target[train])
        self.test = ArraySplit(images[test], bunch.target[test])
        self.digest = sha256_hex(images[train].tobytes() + images[test].tobytes())


@hookimpl
def unledger_data_source(spec: str) -> DataSource | None:
    """Answer to ``digits``."""
    return Digits() if spec == "digits" else None
