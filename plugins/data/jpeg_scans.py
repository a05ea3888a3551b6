"""How many scans a JPEG file has. A progressive file may have any number, and each takes a pass over the image."""

import re
from typing import BinaryIO

START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length behind them."""
# Within compressed data FF is followed by 00, by a restart marker, or by another FF.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def count_scans(file: BinaryIO, most: int) -> int:
    """Return the number of scans of a file's first image, counted up to ``most`` + 1; the file is read from its start.

    Source: ITU-T T.81, annex B (the order of markers).
    """
    file.seek(0)
    data = file.read()
    scans, place = 0, 0
    while (found := _MARKER.search(data, place)) and scans <= most:
        marker, place = data[found.start() + 1], found.end()
        if marker == END_OF_IMAGE:
            break
        scans += marker == START_OF_SCAN
        if marker not in ALONE:
            place += int.from_bytes(data[place : place + 2], "big")
    return scans
