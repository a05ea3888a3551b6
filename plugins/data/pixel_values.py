"""Values of decoded images as eight bits a channel, nothing cut off in silence.

Pillow's own conversion of images with sixteen bits cuts off all values above 255, so that nearly all becomes white.
What holds more than eight bits is scaled here; what has no known range is refused. Whatever else is changed or ignored
about an image is named by :func:`traits`.
"""

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

SIXTEEN = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
"""Modes of images with 16 bits of grey."""
OF_16_BITS = 65_535 // 255
"""Values of 16 bits for each of eight."""
ORIENTATION = 0x0112
"""Number of the EXIF tag."""
WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})


class RangeError(ValueError):
    """The values of an image have no known range."""


def eight_bits(image: Image.Image) -> Image.Image:
    """Return an image whose values are of eight bits each: itself, or a scaled one.

    Values of 16 bits are divided by 257, floating ones in [0, 1] multiplied by 255; both are rounded.

    Raises:
        RangeError: They are integers of 32 bits, or floating values beyond [0, 1] or not finite.
    """
    if image.mode in SIXTEEN or (image.mode == "I" and image.format == "PPM"):
        values = np.asarray(image)
        return Image.fromarray(((values.astype(np.uint32) + OF_16_BITS // 2) // OF_16_BITS).astype(np.uint8))
    if image.mode == "I":
        values = np.asarray(image)
        raise RangeError(f"it has integers of 32 bits, from {values.min()} to {values.max()}, whose scale nobody knows")
    if image.mode == "F":
        floats = np.asarray(image)
        low, high = float(floats.min()), float(floats.max())
        if not (low >= 0 and high <= 1):
            raise RangeError(f"it has floating values from {low:g} to {high:g}; only [0, 1] is read")
        return Image.fromarray(np.rint(floats * np.float32(255)).astype(np.uint8))
    return image


def upright(image: Image.Image) -> Image.Image:
    """Return an image turned as its EXIF orientation says, or itself; a broken EXIF block says nothing."""
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def traits(image: ImageFile) -> tuple[str, ...]:
    """Name what of an opened image, not yet decoded, is changed or ignored when it is read as a network takes it."""
    found = []
    if _orientation(image) != 1:
        found.append("EXIF orientation")
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        found.append("transparency")
    if image.mode in SIXTEEN or image.mode in {"I", "F"} or any("16" in str(tile[3]) for tile in image.tile):
        found.append("more than 8 bits")
    if image.mode in {"CMYK", "YCCK"}:
        found.append("CMYK colours")
    if _frames(image):
        found.append("several frames")
    return tuple(found)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    # What broken EXIF blocks raise is not written down anywhere.
    except Exception:  # noqa: BLE001
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _frames(image: ImageFile) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    # A file may announce more frames than it has.
    except Exception:  # noqa: BLE001
        return True
