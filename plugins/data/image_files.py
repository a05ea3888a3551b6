"""Decode image files that nobody vouches for: known formats only, within limits that are checked before decoding.

What decides is the content of a file, not its name. Formats that Pillow hands to other programs (EPS to Ghostscript) or
that hardly anybody uses are not tried: each decoder is a risk.
"""

import io
import warnings
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ledger.domain.settings import Preprocessing
from ledger.errors import DataError
from ledger.named_files import open_named

from .header_reader import HeaderReader
from .image_fitting import fitted
from .image_listing import shown
from .jpeg_scans import count_scans
from .memory_budget import MemoryBudget
from .pixel_values import eight_bits, traits, upright

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""Formats that are decoded, as Pillow calls them. ``PPM`` also stands for PGM and PBM. Not JPEG 2000: its decoder takes
several times as long for the same number of pixels."""
MOST_FILE_BYTES = 2**28
"""Largest file: some decoders read it whole."""
MOST_SIDE = 65_535
"""Largest width and height in pixels, as in the JPEG format."""
MOST_PIXELS = 64_000_000
"""Most pixels of an image: more than the sensors of almost all cameras have."""
HUNGRY = frozenset({"WEBP", "AVIF"})
"""Formats whose decoders hold several copies of an image; half as many pixels are allowed."""
SLOW_DECODERS = frozenset({"bmp_rle", "ppm", "ppm_plain"})
"""Pillow's decoders in Python, which take a microsecond for each value; a thirty-second of the pixels is allowed."""
MOST_BITMAP_BYTES = 5
"""Most bytes of a BMP file for each pixel: four, and a little for the ends of rows."""
MOST_SCANS = 50
"""Most passes over a progressive JPEG image. Encoders write about ten."""
BYTES_OF_PIXEL = 12
"""Memory that decoding takes, per pixel: two images of 4 bytes, and what a decoder holds meanwhile."""
LEAST_BYTES = 48 * 2**20
"""Memory that any image may take: texts in its header, and what a decoder needs anyway."""
MOST_TILE_PIXELS = 2**24
"""Largest tile of a TIFF image, which is decompressed whole however small the image is."""
TILE_WIDTH, TILE_LENGTH = 322, 323
"""Numbers of TIFF tags."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_BUDGET = MemoryBudget(MOST_PIXELS * BYTES_OF_PIXEL)
# Filters of warnings belong to the process, not to a thread.
_WARNINGS = Lock()


class _UnfitError(ValueError):
    """An image is beyond a limit."""


def decode(path: Path, preprocessing: Preprocessing, *, turned: bool = False) -> np.ndarray:
    """Return one image as the network takes it: uint8 (height, width, channels).

    The shorter side is resized and the centre is cropped. Of several frames the first is taken, transparency is
    dropped, and more than eight bits a channel are scaled to eight.

    Args:
        path: The file.
        preprocessing: What the network takes.
        turned: Whether to turn the image as its EXIF orientation says.

    Raises:
        DataError: The file is not a readable image, or is beyond a limit; names it. It is never skipped, because the
            record of what was used must be true.
    """
    mode = _mode(preprocessing)
    try:
        with HeaderReader(open_named(path)) as file:
            return _decode(file, mode, preprocessing, turned=turned)
    # What the decoders of broken files raise is not written down anywhere.
    except Exception as error:
        raise DataError(
            f"cannot read the image {shown(str(path))}: {_cause(error)}", "replace or remove the file"
        ) from error


def decode_data(
    data: bytes | Image.Image, name: str, preprocessing: Preprocessing, *, turned: bool = False
) -> np.ndarray:
    """Return one image as :func:`decode` does, of the bytes of its file or of an image that a library decoded.

    Args:
        data: The bytes or the image.
        name: What to call it in an error.
        preprocessing: What the network takes.
        turned: Whether to turn the image as its EXIF orientation says.

    Raises:
        DataError: It is not a readable image, or is beyond a limit; names it.
    """
    mode = _mode(preprocessing)
    try:
        if isinstance(data, bytes):
            with HeaderReader(io.BytesIO(data)) as file:
                return _decode(file, mode, preprocessing, turned=turned)
        scaled = eight_bits(upright(data) if turned else data)
        array = np.asarray(fitted(scaled if scaled.mode == mode else scaled.convert(mode), preprocessing))
        return array[..., None] if array.ndim == 2 else array
    # What the decoders of broken files raise is not written down anywhere.
    except Exception as error:
        raise DataError(f"cannot read the image {shown(name)}: {_cause(error)}", "replace or remove it") from error


def examine_data(data: bytes | Image.Image) -> tuple[str, tuple[str, ...]]:
    """Decode an image once as :func:`examine` does; one that a library decoded has nothing to be told of."""
    if not isinstance(data, bytes):
        return "", ()
    with HeaderReader(io.BytesIO(data)) as file:
        return examine(file)


def _mode(preprocessing: Preprocessing) -> str:
    """Return the kind of image that a network takes, as Pillow calls it."""
    mode = MODES.get(preprocessing.channels)
    if mode is None:
        raise DataError(f"images have 1, 3 or 4 channels, the model takes {preprocessing.channels}")
    return mode


def examine(file: HeaderReader) -> tuple[str, tuple[str, ...]]:
    """Decode an image once, without keeping it; return why that fails, or an empty text, and its :func:`traits`.

    Of a JPEG, every byte of the compressed data is read, but only an eighth of each side is computed.
    """
    try:
        _require_small(file)
        with _opened(file) as image:
            share = _check(image, file)
            found = traits(image)
            with _BUDGET.reserved(_memory(image, share)):
                if image.format == "JPEG":
                    image.draft(None, (1, 1))
                image.load()
                eight_bits(image)
    # What the decoders of broken files raise is not written down anywhere.
    except Exception as error:  # noqa: BLE001
        return _cause(error), ()
    return "", found


def _cause(error: Exception) -> str:
    detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return detail[:200]


def _decode(file: HeaderReader, mode: str, preprocessing: Preprocessing, *, turned: bool) -> np.ndarray:
    _require_small(file)
    with _opened(file) as image:
        share = _check(image, file)
        with _BUDGET.reserved(_memory(image, share)):
            array = np.asarray(fitted(_converted(image, mode, turned=turned), preprocessing))
    return array[..., None] if array.ndim == 2 else array


def _require_small(file: HeaderReader) -> None:
    size = file.size
    if size > MOST_FILE_BYTES:
        raise _UnfitError(f"it has {size:,} bytes, more than {MOST_FILE_BYTES:,}")


def _memory(image: ImageFile, share: float) -> int:
    """Return how many bytes to reserve for decoding an image of which a share of the pixels is allowed."""
    return round(max(image.width * image.height * BYTES_OF_PIXEL / share, LEAST_BYTES))


def _opened(file: HeaderReader) -> ImageFile:
    """Read an image's header."""
    with _WARNINGS, warnings.catch_warnings():
        # Pillow warns of bombs, and decodes them; its other warnings are shown as they are.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(file, formats=_formats())
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise _UnfitError(f"it announces more than {MOST_PIXELS:,} pixels") from None
        except UnidentifiedImageError:
            raise _UnfitError(f"it is not an image in one of the formats {', '.join(_formats())}") from None
    file.release()
    return image


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check(image: ImageFile, file: HeaderReader) -> float:
    """Require an image to be within the limits; return the share of the pixels that are allowed for its kind."""
    share = 1.0
    if image.format in HUNGRY or image.mode == "CMYK":
        share = 1 / 2
    elif any(tile[0] in SLOW_DECODERS for tile in image.tile):
        share = 1 / 32
    most, pixels = int(MOST_PIXELS * share), image.width * image.height
    if max(image.size) > MOST_SIDE or pixels > most:
        raise _UnfitError(
            f"it has {image.width} x {image.height} pixels; at most {most:,} are read, and {MOST_SIDE:,} in a row"
        )
    if isinstance(image, TiffImageFile):
        across, down = image.tag_v2.get(TILE_WIDTH, 1), image.tag_v2.get(TILE_LENGTH, 1)
        if across * down > max(pixels * 2, MOST_TILE_PIXELS):
            raise _UnfitError(f"its tiles have {across} x {down} pixels")
    if image.format == "BMP" and file.size > pixels * MOST_BITMAP_BYTES + 2**16:
        raise _UnfitError("it is a bitmap with more data than it has pixels")
    if "progressive" in image.info:
        begun = file.tell()
        if count_scans(file, MOST_SCANS) > MOST_SCANS:
            raise _UnfitError(f"it is a progressive JPEG of more than {MOST_SCANS} scans")
        file.seek(begun)
    return share


def _converted(image: ImageFile, mode: str, *, turned: bool) -> Image.Image:
    image.load()
    scaled = eight_bits(upright(image) if turned else image)
    # Without a copy if there is nothing to convert: large images are hundreds of megabytes.
    return scaled if scaled.mode == mode else scaled.convert(mode)
