"""Sizes of images as people type them."""

import re

from ledger.errors import UsageError

LARGEST = 65_536
"""Pixels along one side, and channels: nothing larger is ever meant."""


def parse_size(text: str) -> dict[str, int]:
    """Read ``CHANNELSxHEIGHTxWIDTH``, e.g. ``3x32x32``.

    Raises:
        UsageError: The text has another form, or a number is out of range.
    """
    parts = re.split(r"[xX×,* ]+", text.strip())
    example = "write CHANNELSxHEIGHTxWIDTH, e.g. 3x224x224, or 1x28x28 for grey images"
    if not all(re.fullmatch(r"[+-]?[0-9]{1,18}", part) for part in parts):
        raise UsageError(f"{text!r} is not the size of an image", example)
    numbers = [int(part) for part in parts]
    if not all(1 <= number <= LARGEST for number in numbers):
        raise UsageError(f"the size {text!r} holds a number that is not between 1 and {LARGEST}", example)
    if len(numbers) == 3 and re.fullmatch("[0-9]+(x[0-9]+){2}", text.strip()):
        return dict(zip(("channels", "height", "width"), numbers, strict=True))
    if len(numbers) == 1:
        side = f"{numbers[0]}x{numbers[0]}"
        raise UsageError(
            f"the size {text!r} names one side only", f"write --input-size 3x{side}, or 1x{side} for grey images"
        )
    if len(numbers) == 2:
        sides = f"{numbers[0]}x{numbers[1]}"
        raise UsageError(
            f"the size {text!r} lacks the number of channels",
            f"write --input-size 3x{sides}, or 1x{sides} for grey images",
        )
    if len(numbers) == 3:
        raise UsageError(
            f"the size {text!r} is not written as sizes are here", f"write --input-size {'x'.join(map(str, numbers))}"
        )
    raise UsageError(f"the size {text!r} has {len(numbers)} numbers instead of three", example)
