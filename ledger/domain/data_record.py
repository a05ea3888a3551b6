"""What the images of a model are: how their files are read, and digests of what each class consists of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from ledger.errors import UsageError


@dataclass(frozen=True)
class DataOptions:
    """How the files of a data source are read; recorded with the model, since results depend on it."""

    skipped: tuple[str, ...] = ()
    """Files that are left out, by their names in the source: they could not be read when the model was registered."""
    upright: bool = False
    """Whether images are turned as their EXIF orientation says. torchvision does not, so most networks were trained
    without."""
    test_share: float = 0.0
    """Share of each class that is set aside as test images, of a source without any; 0 for none."""
    split_seed: int = 0
    """Seed by which they are chosen."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values, without what models of earlier releases lack."""
        values: dict[str, Any] = {"skipped": self.skipped, "upright": self.upright}
        return values | ({"test_share": self.test_share, "split_seed": self.split_seed} if self.test_share else {})


DEFAULT_DATA_OPTIONS = DataOptions()
PATH_SPECS = frozenset({"folder", "npz", "csv", "wds", "parquet"})
"""Kinds of data specifications that name a file or a folder: ``KIND:PATH``."""
KNOWN_SPECS = (
    "digits, digit-pairs, folder:PATH, csv:FILE, npz:PATH, parquet:PATH, hfds:PATH, wds:PATH or torchvision:NAME:PATH"
)
"""The data specifications that built-in plugins read."""


def parse_split(text: str) -> float:
    """Return the share of test images that a person asks for, e.g. ``0.8/0.2`` or ``80/20``.

    Raises:
        UsageError: It names no two shares that make up the whole.
    """
    try:
        train, test = (float(part) for part in text.split("/"))
        share = test / (train + test)
    except (ValueError, ZeroDivisionError):
        train, test, share = 0.0, 0.0, math.nan
    if not (0 < share < 1 and min(train, test) > 0 and any(math.isclose(train + test, whole) for whole in (1, 100))):
        raise UsageError(f"--split cannot be {text!r}", "name the shares of training and test images, e.g. 0.8/0.2")
    return share


@dataclass(frozen=True)
class ClassContent:
    """The images of one class, by digest: their names in order, and their bytes."""

    train: str
    test: str
    train_images: int
    test_images: int


class BadImages(StrEnum):
    """What to do about images that cannot be read."""

    REFUSE = "refuse"
    SKIP = "skip"


@dataclass(frozen=True)
class BadImage:
    """An image file that cannot be read."""

    name: str
    """Its name in the source, e.g. ``train/cat/17.jpg``."""
    cause: str


@dataclass(frozen=True)
class SourceContents:
    """What a data source consists of."""

    classes: Mapping[str, ClassContent]
    """By label."""
    bad: Sequence[BadImage] = ()
    """Images that cannot be read; found only where reading was asked for."""
    notes: Sequence[str] = ()
    """Sentences about what a person may not expect: files that were left out, images that are changed to be read."""


@dataclass(frozen=True)
class ClassRecord(ClassContent):
    """The images of one class as they were when results last came to depend on them."""

    gone: bool = False
    """Whether they are no longer there: results rest on the class space that was collected from them."""
    term: str | None = None
    """Digest of all images that class spaces of this class were collected under by an earlier release."""


@dataclass(frozen=True)
class DataRecord:
    """What a ledger knows about the images of a model besides their digest."""

    classes: tuple[ClassRecord, ...] = ()
    """By class index; none where the source only states a digest of the whole, or an earlier release registered it."""
    options: DataOptions = field(default_factory=DataOptions)
    earlier: tuple[str, ...] = ()
    """Digests that the data went by before, without an image having changed that weights depend on."""
    reusable_from: int = 0
    """Number of the first version whose weights are the result for its set: before it, other code built the network."""

    @property
    def gone(self) -> frozenset[int]:
        """Classes whose images are no longer there."""
        return frozenset(k for k, one in enumerate(self.classes) if one.gone)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self) | {"options": self.options.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DataRecord":
        """Return what :meth:`to_json` wrote; nothing is known where an earlier release wrote.

        Raises:
            LookupError: A value is missing.
            TypeError: Something is not what it should be.
        """
        if not values:
            return cls()
        options = values["options"]
        return cls(
            classes=tuple(ClassRecord(**one) for one in values["classes"]),
            options=DataOptions(
                tuple(options["skipped"]),
                options["upright"],
                options.get("test_share", 0.0),
                options.get("split_seed", 0),
            ),
            earlier=tuple(values["earlier"]),
            reusable_from=values["reusable_from"],
        )
