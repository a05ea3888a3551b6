"""What happens to an image before the network gets it, in words: rules that hold for all images of a kind of source."""

from .data_record import DataOptions
from .settings import CropMode, Preprocessing

ARRAYS = ("npz:", "digits", "digit-pairs")
"""Sources whose images are arrays."""
FILES = ("folder:", "csv:", "parquet:", "hfds:", "wds:", "torchvision:")
"""Sources whose images are files, decoded by one set of rules."""


def image_policy(spec: str, preprocessing: Preprocessing, options: DataOptions) -> dict[str, str]:
    """Return what is done with an image, by subject, in the order in which it happens.

    Args:
        spec: The data specification.
        preprocessing: What the network takes.
        options: How files are read.
    """
    size = f"{preprocessing.channels}x{preprocessing.height}x{preprocessing.width}"
    if spec.startswith(ARRAYS):
        told = {
            "EXIF orientation": "arrays have none",
            "bit depth": "8 bits a channel, or floating values in [0, 1]",
            "grey and colour": "grey is repeated for three channels; other numbers of channels must fit",
            "transparency": "a fourth channel is an input as it is",
        }
    elif spec.startswith(FILES):
        told = {
            "EXIF orientation": "applied" if options.upright else "ignored, as torchvision does",
            "bit depth": "8 bits a channel; 16 bits and floating values in [0, 1] are scaled to 8",
            "grey and colour": _colour(preprocessing.channels),
            "transparency": "dropped, not laid on a colour"
            if preprocessing.channels != 4
            else "kept as fourth channel",
        }
    else:
        told = dict.fromkeys(
            ("EXIF orientation", "bit depth", "grey and colour", "transparency"), "as its plugin reads it"
        )
    told |= {"interpolation": preprocessing.interpolation, "crop": _crop(preprocessing), "input": size}
    if options.test_share:
        told["test images"] = (
            f"{options.test_share:.0%} of each class, set aside with seed {options.split_seed}; the source has none"
        )
    return told


def _colour(channels: int) -> str:
    if channels == 1:
        return "colours become grey (ITU-R 601 luma)"
    return "grey is repeated for each colour; CMYK is converted without a profile"


def _crop(preprocessing: Preprocessing) -> str:
    fraction = preprocessing.crop_fraction
    if preprocessing.crop_mode is None:
        return f"the centre, {fraction:g} of the resized image; an image of just this size is not cropped"
    squashed = preprocessing.crop_mode is CropMode.SQUASH
    resized = "resized as a whole, sides independently" if squashed else "the shorter side is resized"
    return resized if fraction == 1 and squashed else f"{resized}, and the centre is cropped: {fraction:g} of it"
