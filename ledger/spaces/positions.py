"""Choose the positions of a feature map that are read, by the seed, the class and the map alone."""

import numpy as np
import torch
from torch import Tensor

from ledger.images.sampling import seeded_generator


class PositionSampler:
    """Reads each feature map at a few seeded positions, without replacement.

    Args:
        seed: The model's seed.
        class_index: The class whose images flow through.
        per_image: Positions per image and map.
    """

    def __init__(self, seed: int, class_index: int, per_image: int) -> None:
        self._seed = (seed, class_index)
        self._per_image = per_image
        self._generators: dict[str, np.random.Generator] = {}

    def positions(self, key: str, images: int, available: int) -> Tensor | None:
        """Return sorted flat positions (images, p), or None where all ``available`` are read.

        Each map has its own random stream, drawn image by image, so the positions do not depend on the batch size.
        """
        if self._per_image >= available:
            return None
        generator = self._generators.setdefault(key, seeded_generator("positions", *self._seed, key))
        order = np.argpartition(generator.random((images, available)), self._per_image, axis=1)
        return torch.from_numpy(np.sort(order[:, : self._per_image], axis=1))
