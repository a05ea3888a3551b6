"""Load images as a network expects them: read from a data source, then normalised."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ledger.domain.settings import Preprocessing
from ledger.errors import DataError
from ledger.hookspecs import Split

from .prefetching import ahead


def load_images(split: Split, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
    """Return preprocessed images, float32 (n, channels, height, width).

    Raises:
        DataError: The source returned another shape, or NaN or infinity.
    """
    return normalised(pixels_of(split, indices, preprocessing), preprocessing)


def pixels_of(split: Split, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
    """Return images as the source gives them, float32 (n, channels, height, width) in [0, 1].

    Raises:
        DataError: The source returned another shape, or NaN or infinity.
    """
    batch = split.pixels(indices, preprocessing)
    expected = (len(indices), preprocessing.channels, preprocessing.height, preprocessing.width)
    if tuple(batch.shape) != expected:
        raise DataError(f"the data source returned images of shape {tuple(batch.shape)}, not {expected}")
    if not bool(torch.isfinite(batch).all()):
        raise DataError("the data source returned images with NaN or infinity")
    return batch


def normalised(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return images (n, channels, height, width) as the network takes them."""
    mean = torch.tensor(preprocessing.mean).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
    return (pixels - mean) / std


def iterate(split: Split, indices: Sequence[int], preprocessing: Preprocessing, batch_size: int) -> Iterator[Tensor]:
    """Yield preprocessed images, float32 (n, channels, height, width), in batches, in the order of ``indices``.

    The next batches are read meanwhile.
    """
    for pixels in iterate_pixels(split, indices, preprocessing, batch_size):
        yield normalised(pixels, preprocessing)


def iterate_pixels(
    split: Split, indices: Sequence[int], preprocessing: Preprocessing, batch_size: int
) -> Iterator[Tensor]:
    """Yield images as the source gives them, in batches, in the order of ``indices``; the next are read meanwhile."""
    parts = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    read = (pixels_of(split, part, preprocessing) for part in parts)
    # One batch has no next one.
    return read if len(parts) < 2 else ahead(read)


def digest_while(batches: Iterable[Tensor], hasher: "hashlib._Hash") -> Iterator[Tensor]:
    """Pass batches through, feeding their bytes to ``hasher``."""
    for batch in batches:
        hasher.update(batch.numpy().tobytes())
        yield batch
