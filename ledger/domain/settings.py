"""Settings of a model. They are fixed at registration, so its weights depend only on the set of forgotten classes."""

import math
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from ledger.errors import UsageError

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""Ways to resize an image, as Pillow and timm call them."""


class CropMode(StrEnum):
    """How an image of another shape is fitted to the network's input, in timm's words."""

    CENTER = "center"
    """The shorter side is resized, and the centre is cropped: nothing is distorted, edges are lost."""
    SQUASH = "squash"
    """Both sides are resized, and the centre is cropped: without a crop nothing is lost."""


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the model's input."""

    channels: int = 3
    """1 or 3; images are converted."""
    height: int = 32
    """In pixels."""
    width: int = 32
    """In pixels."""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Per channel, of pixels in [0, 1]: what is subtracted."""
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Per channel: what is divided by."""
    interpolation: str = "bicubic"
    """How images are resized."""
    crop_fraction: float = 1.0
    """Share of the resized image that the centre crop keeps."""
    crop_mode: CropMode | None = None
    """How another shape is fitted. None in models of earlier releases: as ``center``, but an image of just the size
    that the network takes is not cropped."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without what models of earlier releases lack."""
        values = dict(vars(self))
        return values if self.crop_mode is not None else {k: v for k, v in values.items() if k != "crop_mode"}


def crop_share(cropped: int, resized: int) -> float:
    """Return the share that a crop keeps of a resized side; divided by it and rounded down, the side comes out again.

    Args:
        cropped: Pixels that are kept.
        resized: Pixels of the side.
    """
    share = cropped / resized
    while math.floor(cropped / share) < resized:
        share = math.nextafter(share, 0)
    return share


@dataclass(frozen=True)
class Settings:
    """How classes are unlearned from a model. Defaults follow the paper's CIFAR-10 protocol where it gives values."""

    seed: int = 0
    """What every choice of images follows from."""
    retain_samples: int = 100
    """Images per retained class that estimate the retain space."""
    forget_samples: int = 900
    """Images per forgotten class that estimate the forget space."""
    rows_per_class: int = 512
    """Target number of input rows per class and linear map; decides how many positions of a feature map are sampled."""
    rows_per_image: int = 64
    """Most positions of one feature map that are read, however few images there are: neighbouring patches are alike."""
    max_rank: int = 64
    """Largest rank of one class space."""
    space_tolerance: float = 1e-4
    """Share of a class's energy (0 to 1) below which a direction is not stored."""
    calibration_samples: int = 100
    """Images per class on which candidates are evaluated; none of them is among the samples above."""
    solvers: tuple[str, ...] = ("redirect", "projection", "least-squares")
    """Names of the solvers that take part in the search. Graded ones, such as ``redirect``, go first; the others
    compete where none of their edits keeps the bar."""
    depths: tuple[int, ...] = ()
    """Numbers of layers to try, counted from the output. Empty: a default ladder."""
    alpha_r: tuple[float, ...] = (100.0, 300.0, 1000.0, 1e5)
    """Strengths to try by which the retain space is protected: larger protects more. Not of graded solvers."""
    alpha_f: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5)
    """Strengths to try by which the forget space is removed: larger removes more. Not of graded solvers."""
    retained_bar: float = 0.01
    """Largest loss of calibration confidence on the retained classes against the masked original, as a difference of
    shares, up to which an edit is preferred by how well it forgets: what costs more is used only if nothing costs
    less."""
    early_error: float = 0.05
    """Probability with which a candidate that breaks the retained bar is taken for one that keeps it, or the other way
    round, before it was shown all retained calibration images. What is chosen is shown all. 0: every candidate is."""
    max_forgotten_accuracy: float = 0.01
    """Gate: largest calibration accuracy on any forgotten class, as a share."""
    max_retained_drop: float = 0.05
    """Gate: largest loss of calibration accuracy on the retained classes against the masked original, as a difference
    of shares."""
    min_retained: int = 2
    """Smallest number of classes that must be retained."""
    batch_size: int = 64
    """Images that pass through the network at once."""

    def passes_forgotten(self, accuracy: float) -> bool:
        """Whether this calibration accuracy on a forgotten class (a share) passes the gate."""
        return accuracy <= self.max_forgotten_accuracy

    def passes_drop(self, drop: float) -> bool:
        """Whether this loss of accuracy on the retained classes (a difference of shares) passes the gate."""
        return drop <= self.max_retained_drop

    def __post_init__(self) -> None:
        for name in (
            "retain_samples",
            "forget_samples",
            "rows_per_class",
            "rows_per_image",
            "max_rank",
            "calibration_samples",
            "min_retained",
            "batch_size",
        ):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        object.__setattr__(self, "alpha_r", tuple(sorted(set(self.alpha_r))))
        object.__setattr__(self, "alpha_f", tuple(sorted(set(self.alpha_f))))
        for name in ("solvers", "depths"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        if not self.solvers:
            raise UsageError("solvers must name at least one", "for example redirect")
        if not all(isinstance(depth, int) and depth >= 1 for depth in self.depths):
            raise UsageError("every depth must be a whole number of at least 1", "1 edits the last layer only")
        if not self.alpha_r or not self.alpha_f or not all(1 <= a < math.inf for a in self.alpha_r + self.alpha_f):
            raise UsageError("every alpha must be at least 1", "1 means no importance scaling")

    def positions(self, images: int) -> int:
        """Return how many positions of each feature map are read where a class has so many images."""
        return min(self.rows_per_image, self.positions_wanted(images))

    def positions_wanted(self, images: int) -> int:
        """Return how many it would be if the positions of one image were not limited."""
        return math.ceil(self.rows_per_class / images)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Settings":
        """Rebuild settings from the values of :meth:`to_json`.

        Models of earlier releases, which know no ``rows_per_image``, go on without such a limit.
        """
        unlimited = {"rows_per_image": values["rows_per_class"]} if "rows_per_class" in values else {}
        return cls(**_tuples(cls, unlimited | values))


def preprocessing_from_json(values: dict[str, Any]) -> Preprocessing:
    """Rebuild a :class:`Preprocessing` from its JSON values."""
    read = _tuples(Preprocessing, values)
    mode = read.pop("crop_mode", None)
    return Preprocessing(**read, crop_mode=None if mode is None else CropMode(mode))


def _tuples(cls: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(cls)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
