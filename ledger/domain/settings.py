"""Settings that belong to a model: fixed at registration, so that state depends on the set forgotten alone."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from ledger.errors import UsageError


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the model's input."""

    channels: int = 3
    height: int = 32
    width: int = 32
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"
    crop_fraction: float = 1.0
    """Share of the resized image that the centre crop keeps."""


@dataclass(frozen=True)
class Settings:
    """How this model is unlearned. Defaults follow the paper's CIFAR-10 protocol where it states one."""

    seed: int = 0
    retain_samples: int = 100
    """Images per retained class that estimate the retain space."""
    forget_samples: int = 900
    """Images per forgotten class that estimate the forget space."""
    rows_per_class: int = 512
    """Input rows per class and linear map to aim for; decides how many positions of a feature map are sampled."""
    max_rank: int = 64
    """Largest rank of one class space."""
    space_tolerance: float = 1e-4
    """Share of a class's energy up to which a direction is not stored."""
    calibration_samples: int = 100
    """Images per class, kept apart from the samples above, on which candidates are judged."""
    solvers: tuple[str, ...] = ("projection", "least-squares")
    """Ways to compute an edit that compete with each other."""
    depths: tuple[int, ...] = ()
    """Numbers of layers to edit, counted from the output; the largest that will do is taken; empty: a ladder."""
    alpha_r: tuple[float, ...] = (100.0, 300.0, 1000.0, 1e5)
    alpha_f: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5)
    retained_bar: float = 0.005
    """Largest fall of calibration confidence on the retained classes at which the deepest edit is taken."""
    max_forgotten_accuracy: float = 0.01
    """Gate: largest calibration accuracy on any forgotten class."""
    max_retained_drop: float = 0.05
    """Gate: largest fall of calibration accuracy on the retained classes."""
    min_retained: int = 2
    """Fewest classes that must stay."""
    batch_size: int = 64

    def passes_forgotten(self, accuracy: float) -> bool:
        """Whether a forgotten class with this calibration accuracy passes its gate."""
        return accuracy <= self.max_forgotten_accuracy

    def passes_drop(self, drop: float) -> bool:
        """Whether the retained classes with this fall of calibration accuracy pass theirs."""
        return drop <= self.max_retained_drop

    def __post_init__(self) -> None:
        for name in (
            "retain_samples",
            "forget_samples",
            "rows_per_class",
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
            raise UsageError("solvers must name at least one", "for example projection")
        if not all(isinstance(depth, int) and depth >= 1 for depth in self.depths):
            raise UsageError("every depth must be a whole number of at least 1", "1 edits the last layer only")
        if not self.alpha_r or not self.alpha_f or not all(1 <= a < math.inf for a in self.alpha_r + self.alpha_f):
            raise UsageError("every alpha must be at least 1", "1 means no importance scaling")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Settings":
        """Rebuild from :meth:`to_json`'s values."""
        return cls(**_tuples(cls, values))


def preprocessing_from_json(values: dict[str, Any]) -> Preprocessing:
    """Rebuild a :class:`Preprocessing` from JSON values."""
    return Preprocessing(**_tuples(Preprocessing, values))


def _tuples(cls: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(cls)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
