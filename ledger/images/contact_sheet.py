"""Draw what a network sees: a few images of each class as they reach it, with what it answers."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL = 96
"""Pixels a side of an image on the sheet."""
GAP, LINE = 6, 14
NAME_WIDTH = 150
"""Pixels for the name of a class, before its images."""
MOST_CHARACTERS = 22
RIGHT, WRONG, INK, PAPER = (20, 110, 50), (170, 30, 30), (20, 20, 20), (255, 255, 255)


@dataclass(frozen=True)
class SheetImage:
    """One image of a sheet."""

    pixels: "np.ndarray[tuple[int, int, int], np.dtype[np.float32]]"
    """As the network gets it, before it is normalised: (channels, height, width) in [0, 1]."""
    answer: str
    """The label that the network gives it."""
    right: bool


def draw(rows: Sequence[tuple[str, Sequence[SheetImage]]], caption: str) -> bytes:
    """Return a sheet as PNG: one row for each class.

    Args:
        rows: Each class's label, with its images.
        caption: The line above them.
    """
    columns = max((len(images) for _, images in rows), default=0)
    width = max(NAME_WIDTH + columns * (CELL + GAP) + GAP, 480)
    row_height = CELL + LINE + GAP
    sheet = Image.new("RGB", (width, LINE + 2 * GAP + len(rows) * row_height), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    _write(pen, (GAP, GAP), caption, font, INK, most=width // 6)
    for number, (label, images) in enumerate(rows):
        top = LINE + 2 * GAP + number * row_height
        _write(pen, (GAP, top + CELL // 2), label, font, INK)
        for place, image in enumerate(images):
            left = NAME_WIDTH + place * (CELL + GAP)
            sheet.paste(_picture(image.pixels), (left, top))
            # Not by colour alone: printed, both are grey.
            sign = "=" if image.right else "≠"
            _write(pen, (left, top + CELL), f"{sign} {image.answer}", font, RIGHT if image.right else WRONG, most=15)
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()


def _picture(pixels: "np.ndarray[tuple[int, int, int], np.dtype[np.float32]]") -> Image.Image:
    channels = pixels.shape[0]
    # One channel is grey, four are colours and a channel that is not seen.
    shown = np.repeat(pixels[:1], 3, axis=0) if channels < 3 else pixels[:3]
    values = np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(values))
    scale = CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Small images are shown with their pixels, as they are.
    picture = picture.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)
    cell = Image.new("RGB", (CELL, CELL), PAPER)
    cell.paste(picture, ((CELL - size[0]) // 2, (CELL - size[1]) // 2))
    return cell


def _write(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    colour: tuple[int, int, int],
    *,
    most: int = MOST_CHARACTERS,
) -> None:
    text = "".join(c if c.isprintable() else "?" for c in text)
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    try:
        pen.text(place, text, fill=colour, font=font)
    except UnicodeEncodeError:
        # Where Pillow has no FreeType, its own font knows few letters.
        pen.text(place, text.encode("ascii", errors="replace").decode(), fill=colour, font=font)
