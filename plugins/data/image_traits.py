"""What a person may not expect of how images are read, in words."""

from collections import Counter
from collections.abc import Iterator, Mapping

ORIENTATION = "EXIF orientation"
READ_AS: Mapping[str, str] = {
    ORIENTATION: "an EXIF orientation, which is ignored as torchvision does; --upright turns them",
    "transparency": "transparency, which is dropped",
    "more than 8 bits": "more than 8 bits a channel, which are scaled to 8",
    "CMYK colours": "CMYK colours, which are converted without a colour profile",
    "several frames": "several frames or pages, of which the first is used",
}
"""By trait, as :func:`~ledger.plugins.data.pixel_values.traits` names it."""


def read_as(counts: Counter[str], *, upright: bool) -> Iterator[str]:
    """Yield a sentence for each trait of some images.

    Args:
        counts: How many images have each.
        upright: Whether they are turned as their EXIF orientation says.
    """
    for trait, words in READ_AS.items():
        if counts[trait] and not (trait == ORIENTATION and upright):
            yield f"{counts[trait]:,} {'image has' if counts[trait] == 1 else 'images have'} {words}"
