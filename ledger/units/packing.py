"""Images on their way to a unit: by value, in a byte a value where that loses nothing, and no larger otherwise.

A unit gets the pixels themselves, so it needs no access to where they lie, and it cannot read others than were meant.
How they lie in memory travels with them: it decides which kernels a network runs, and so the last bits of its answers.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from ledger.digest import canonical_json
from ledger.domain.settings import Preprocessing
from ledger.hookspecs import Split
from ledger.images.loading import iterate_pixels, normalised


@dataclass(frozen=True)
class PackedBatch:
    """What is known of one batch besides its bytes."""

    shape: tuple[int, ...]
    """(n, channels, height, width)."""
    strides: tuple[int, ...]
    """How it lay in memory."""
    exact: bool
    """Whether its pixels are stored in a byte a value: those of most image files are multiples of 1/255."""
    preprocessed: bool = False
    """Whether its bytes are those of images as the network takes them. That is so only where pixels cannot be told."""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return torch.Size(self.shape).numel() * (1 if self.exact else torch.float32.itemsize)


@dataclass(frozen=True)
class PackedImages:
    """Some images, in the batches in which they are to flow through a network."""

    parts: tuple[PackedBatch, ...]
    data: bytes

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything."""
        hasher = hashlib.sha256(canonical_json([asdict(part) for part in self.parts]))
        hasher.update(self.data)
        return hasher.hexdigest()

    @classmethod
    def of(cls, batches: Iterable[Tensor]) -> "PackedImages":
        """Pack pixels, float32 (n, channels, height, width) in [0, 1] each."""
        return cls._packed(batches, _as_bytes, preprocessed=False)

    @classmethod
    def of_preprocessed(cls, batches: Iterable[Tensor], preprocessing: Preprocessing) -> "PackedImages":
        """Pack images as the network takes them, float32 (n, channels, height, width) each."""
        return cls._packed(batches, partial(_unprocessed, preprocessing=preprocessing), preprocessed=True)

    @classmethod
    def read(cls, split: Split, indices: Sequence[int], preprocessing: Preprocessing, size: int) -> "PackedImages":
        """Read images of a split in batches of ``size``.

        Raises:
            DataError: One cannot be read.
        """
        return cls.of(iterate_pixels(split, indices, preprocessing, size))

    @classmethod
    def _packed(
        cls, batches: Iterable[Tensor], short_of: Callable[[Tensor], Tensor | None], *, preprocessed: bool
    ) -> "PackedImages":
        parts, data = [], []
        for batch in batches:
            short = short_of(batch)
            parts.append(
                PackedBatch(tuple(batch.shape), batch.stride(), short is not None, preprocessed and short is None)
            )
            data.append((batch if short is None else short).contiguous().numpy().tobytes())
        return cls(tuple(parts), b"".join(data))

    def batches(self, preprocessing: Preprocessing) -> Iterator[Tensor]:
        """Yield the images as the network takes them, bit for bit as they would be without having been packed."""
        place, data = 0, memoryview(self.data)
        for part in self.parts:
            values = torch.frombuffer(
                bytearray(data[place : place + part.size]), dtype=torch.uint8 if part.exact else torch.float32
            )
            place += part.size
            # A copy: what lies in a buffer of bytes is not aligned, and alignment can change the last bit of a product.
            pixels = torch.empty_strided(part.shape, part.strides)
            pixels.copy_((values.float() / 255 if part.exact else values).view(part.shape))
            yield pixels if part.preprocessed else normalised(pixels, preprocessing)


def _as_bytes(pixels: Tensor) -> Tensor | None:
    """Return pixels in [0, 1] as uint8, if they can be told from it."""
    short = (pixels * 255).round().clamp(0, 255).to(torch.uint8)
    return short if torch.equal(short.float() / 255, pixels) else None


def _unprocessed(images: Tensor, preprocessing: Preprocessing) -> Tensor | None:
    """Return the pixels that images were made of as uint8, if the images can be told from it."""
    mean = torch.tensor(preprocessing.mean).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
    short = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return short if torch.equal(normalised(short.float() / 255, preprocessing), images) else None
