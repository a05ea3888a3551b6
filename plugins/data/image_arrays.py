"""Images held as one array: what the ``digits`` and ``npz`` sources share."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's customary name
from torch import Tensor

from ledger.domain.settings import CropMode, Preprocessing
from ledger.errors import DataError

MOST_BYTES = 2**28
"""Bytes of images, as float32, that are resized at once."""


class ArraySplit:
    """One split of images in memory.

    Args:
        images: uint8 in [0, 255] or floating in [0, 1], shape (n, height, width, channels).
        labels: Class index of each image.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.labels: Sequence[int] = [int(label) for label in labels]
        self._images = images

    def applied(self, preprocessing: Preprocessing) -> Preprocessing:
        """Return what is really done with an image: it is resized as a whole, and nothing is cropped."""
        return replace(preprocessing, interpolation="bilinear", crop_fraction=1.0, crop_mode=CropMode.SQUASH)

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Return float32 (n, channels, height, width) in [0, 1], resized with antialiasing if need be."""
        size = (preprocessing.height, preprocessing.width)
        together = max(1, MOST_BYTES // max(1, self._images[:1].size * torch.float32.itemsize))
        if len(indices) <= together:
            return self._resized(indices, preprocessing.channels, size)
        # Large images in parts: a batch of them before it is resized can be larger than the whole split.
        starts = range(0, len(indices), together)
        return torch.cat([self._resized(indices[s : s + together], preprocessing.channels, size) for s in starts])

    def _resized(self, indices: Sequence[int], channels: int, size: tuple[int, int]) -> Tensor:
        picked = torch.from_numpy(self._images[list(indices)]).permute(0, 3, 1, 2)
        batch = picked.float().div_(255) if picked.dtype == torch.uint8 else picked.float()
        if batch.shape[1] == 1 and channels == 3:
            batch = batch.expand(-1, 3, -1, -1)
        elif batch.shape[1] != channels:
            raise DataError(
                f"images have {batch.shape[1]} channels, the model takes {channels}",
                "set the input size with --input-size",
            )
        if batch.shape[2:] != size:
            batch = F.interpolate(batch, size=size, mode="bilinear", antialias=True, align_corners=False)
        return batch.contiguous()
