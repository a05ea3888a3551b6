"""Where an image of any shape is resized to, and which part of it the network sees.

The rules are those of timm's transforms for evaluation, rounding included, so that whoever evaluates an exported model
with them sees the same pixels: https://github.com/huggingface/pytorch-image-models, ``timm.data.transforms_factory``.
"""

import math
from dataclasses import dataclass

from PIL import Image

from ledger.domain.settings import CropMode, Preprocessing

MOST_RESIZED_PIXELS = 16_000_000
"""Largest intermediate image, in pixels, beyond four times what the network takes."""
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Placement:
    """The size of the resized image, and where the crop begins in it, in pixels."""

    width: int
    height: int
    left: int
    top: int


def placement(width: int, height: int, preprocessing: Preprocessing) -> Placement | None:
    """Return how an image of this size is fitted; None if it is taken as it is."""
    wanted = preprocessing.width, preprocessing.height
    if preprocessing.crop_mode is None:
        return _of_earlier_releases(width, height, preprocessing)
    across, down = (math.floor(size / preprocessing.crop_fraction) for size in wanted)
    if preprocessing.crop_mode is CropMode.SQUASH:
        resized = across, down
    elif across == down:
        # torchvision.transforms.Resize: the shorter side gets this length, the other one is rounded down.
        short, long = sorted((width, height))
        longer = int(across * long / short)
        resized = (across, longer) if width <= height else (longer, across)
    else:
        # timm's ResizeKeepRatio.
        ratio = min(width / across, height / down)
        resized = round(width / ratio), round(height / ratio)
    # torchvision.transforms.CenterCrop.
    left, top = (round((size - part) / 2) for size, part in zip(resized, wanted, strict=True))
    return Placement(*resized, left, top)


def _of_earlier_releases(width: int, height: int, preprocessing: Preprocessing) -> Placement | None:
    wanted_width, wanted_height = preprocessing.width, preprocessing.height
    if (width, height) == (wanted_width, wanted_height):
        return None
    scale = max(wanted_width / width, wanted_height / height) / preprocessing.crop_fraction
    resized = max(wanted_width, round(width * scale)), max(wanted_height, round(height * scale))
    return Placement(*resized, (resized[0] - wanted_width) // 2, (resized[1] - wanted_height) // 2)


def fitted(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Return the image as the network takes it: resized, then cropped in the centre."""
    height, width = preprocessing.height, preprocessing.width
    place = placement(image.width, image.height, preprocessing)
    if place is None:
        return image
    resampling = RESAMPLING.get(preprocessing.interpolation, Image.Resampling.BICUBIC)
    box = (place.left, place.top, place.left + width, place.top + height)
    # Pillow resizes rows first, so there is an image of the new width and the old height in between.
    if place.width * max(place.height, image.height) <= MOST_RESIZED_PIXELS + 4 * height * width:
        if (place.width, place.height) != image.size:
            image = image.resize((place.width, place.height), resampling)
        return image if box == (0, 0, *image.size) else image.crop(box)
    # A long and narrow image: only what is cropped is computed. Values may differ a little from the way above.
    across, down = image.width / place.width, image.height / place.height
    right, bottom = min(box[2] * across, image.width), min(box[3] * down, image.height)
    part = (max(0, place.left * across), max(0, place.top * down), right, bottom)
    return image.resize((width, height), resampling, box=part)
