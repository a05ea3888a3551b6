"""Images held as one array: what the ``digits`` and ``npz`` sources share."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's customary name
from torch import Tensor

from ledger.domain.settings import Preprocessing
from ledger.errors import DataError


class ArraySplit:
    """One split of images in memory.

    Args:
        images: uint8 in [0, 255] or floating in [0, 1], shape (n, height, width, channels).
        labels: Class index of each image.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.labels: Sequence[int] = [int(label) for label in labels]
        self._images = images

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        """Return float32 (n, channels, height, width) in [0, 1], resized with antialiasing if need be."""
        picked = torch.from_numpy(self._images[list(indices)]).permute(0, 3, 1, 2)
        batch = picked.float() / 255 if picked.dtype == torch.uint8 else picked.float()
        if batch.shape[1] == 1 and preprocessing.channels == 3:
            batch = batch.expand(-1, 3, -1, -1)
        elif batch.shape[1] != preprocessing.channels:
            raise DataError(
                f"images have {batch.shape[1]} channels, the model takes {preprocessing.channels}",
                "set the input size with --input-size",
            )
        size = (preprocessing.height, preprocessing.width)
        if batch.shape[2:] != size:
            batch = F.interpolate(batch, size=size, mode="bilinear", antialias=True, align_corners=False)
        return batch.contiguous()
