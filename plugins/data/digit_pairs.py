"""Data source ``digit-pairs``: a hundred entangled classes, each two of scikit-learn's digits side by side.

Every class shares its left digit with nine other classes and its right digit with nine more. Only the combination
belongs to the class alone.
"""

import numpy as np

from ledger.digest import sha256_hex
from ledger.hookspecs import DataSource, hookimpl

from .digits import Scans, split_scans
from .image_arrays import ArraySplit

SEED = 0
"""Seed of the choice of pairs."""
TRAIN_EACH = 60
"""Training images of each class."""
TEST_EACH = 50
"""Test images of each class."""


class DigitPairs:
    """Classes ``00`` to ``99``, images of 8x16 pixels; a scan used for training is never seen in a test image."""

    def __init__(self) -> None:
        train, test = split_scans()
        self.labels = [f"{pair:02d}" for pair in range(100)]
        # NumPy promises that raw bits stay the same from release to release, not what a Generator makes of them.
        bits = np.random.PCG64(SEED)
        pairs = _draw_pairs(train, TRAIN_EACH, bits), _draw_pairs(test, TEST_EACH, bits)
        self.train, self.test = (
            ArraySplit(images, np.repeat(np.arange(100), each))
            for images, each in zip(pairs, (TRAIN_EACH, TEST_EACH), strict=True)
        )
        self.digest = sha256_hex(b"".join(images.tobytes() for images in pairs))


def _draw_pairs(scans: Scans, each: int, bits: np.random.PCG64) -> np.ndarray:
    """Return ``each`` different pairs of every class, in class order, as uint8 images (n, 8, 16, 1)."""
    of_digit = [np.flatnonzero(scans.digits == digit) for digit in range(10)]
    drawn = []
    for left, right in ((of_digit[pair // 10], of_digit[pair % 10]) for pair in range(100)):
        chosen = np.argsort(bits.random_raw(len(left) * len(right)), kind="stable")[:each]
        halves = left[chosen // len(right)], right[chosen % len(right)]
        drawn.append(np.concatenate([scans.images[half] for half in halves], axis=2))
    return np.concatenate(drawn)


@hookimpl
def unledger_data_source(spec: str) -> DataSource | None:
    """Answer to ``digit-pairs``."""
    return DigitPairs() if spec == "digit-pairs" else None
