"""Set a part of the training images aside as test images, where a source has none of its own.

Which ones is a function of the seed and of an image's name: the same at every call, and one more image changes the
place of few others.
"""

import hashlib
from collections.abc import Sequence

from ledger.domain.data_record import DataOptions
from ledger.errors import DataError, UsageError

from .class_contents import ClassImages
from .image_listing import normal

WAY_ON = (
    "forgetting is measured on images that the model was not trained on: name them as test images, or set a part of "
    "each class aside, which is recorded: --split 0.8/0.2"
)


def require_split(where: str, options: DataOptions, *, has_test: bool) -> None:
    """Check that a source has test images, or that a part of it is to be set aside, but not both.

    Args:
        where: The source, as people are told.
        options: How it is read.
        has_test: Whether it has test images of its own.

    Raises:
        DataError: It has none, and no part of it is to be set aside.
        UsageError: It has some, and --split was given.
    """
    if not has_test and not options.test_share:
        raise DataError(f"{where} has training images only", WAY_ON)
    if has_test and options.test_share:
        raise UsageError(
            f"{where} has test images of its own",
            "leave --split out; a model keeps the split that it was registered with",
        )


def set_aside(names: Sequence[str], labels: Sequence[int], options: DataOptions) -> tuple[list[int], list[int]]:
    """Return the positions of the images that stay training images, and of those that are test images, in order.

    Of each class, the share that the options name becomes test images, at least one if there are two.

    Args:
        names: What each image is called.
        labels: Class index of each.
        options: The share and the seed.
    """
    of_class: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        of_class.setdefault(label, []).append(position)
    test: set[int] = set()
    for positions in of_class.values():
        count = round(len(positions) * options.test_share)
        count = min(max(count, 1), len(positions) - 1)
        ranked = sorted(positions, key=lambda position: _rank(names[position], options.split_seed))
        test |= set(ranked[:count])
    train = [position for position in range(len(names)) if position not in test]
    return train, sorted(test)


def parted(one: ClassImages, options: DataOptions) -> tuple[ClassImages, ClassImages]:
    """Return the training images and the test images of a class whose images are all in one folder."""
    folder, within, images = one
    names = [normal(file.name) for file in images.files]
    train, test = set_aside([f"{folder.name}/{name}" for name in names], [0] * len(names), options)
    return (folder, within, images.only(train, "train")), (folder, within, images.only(test, "test"))


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogateescape")).digest()


def note(options: DataOptions) -> str:
    """Return a sentence for the person who has images set aside."""
    return (
        f"{options.test_share:.0%} of the images of each class are set aside as test images, with seed "
        f"{options.split_seed}; if the network was trained on them, figures on test images flatter it"
    )
