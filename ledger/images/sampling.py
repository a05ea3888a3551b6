"""Which training images are used for what, and which positions of a feature map are read.

Everything here is a function of the seed and the class alone, so it is the same whichever request
asks, and can be recorded and repeated.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ledger.domain.settings import Settings
from ledger.errors import DataError


@dataclass(frozen=True)
class ClassSamples:
    """Training images of one class, by index: what retained classes are judged on is in no space's samples."""

    calibration: tuple[int, ...]
    retain: tuple[int, ...]
    forget: tuple[int, ...]
    """The same images as the retain samples, and more (or fewer) of them."""

    @property
    def to_be_forgotten(self) -> tuple[int, ...]:
        """Images on which forgetting the class is judged: held-out ones first, then those of its forget space.

        Few classes have enough held-out images to see a share of one per cent.
        """
        return tuple(dict.fromkeys(self.calibration + self.forget))


def seeded_generator(*parts: object) -> np.random.Generator:
    """Return a generator of its own for each sequence of parts: the seed, a purpose, a class."""
    text = "\x1f".join(str(part) for part in parts)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def choose_samples(labels: Sequence[int] | np.ndarray, class_index: int, settings: Settings) -> ClassSamples:
    """Choose a class's images from the training split.

    At most a fifth of the class is set aside for calibration.

    Args:
        labels: Class index of every training image.
        class_index: The class.
        settings: Numbers of samples, and the seed.

    Raises:
        DataError: The class has no training image.
    """
    own = np.flatnonzero(np.asarray(labels) == class_index)
    if len(own) == 0:
        raise DataError(f"class {class_index} has no training image", "its space cannot be estimated")
    shuffled = [int(i) for i in seeded_generator("samples", settings.seed, class_index).permutation(own)]
    held = min(settings.calibration_samples, max(1, len(own) // 5))
    rest = shuffled[held:] or shuffled
    return ClassSamples(
        calibration=tuple(shuffled[:held]),
        retain=tuple(rest[: settings.retain_samples]),
        forget=tuple(rest[: settings.forget_samples]),
    )


def evaluation_samples(labels: Sequence[int], per_class: int | None, seed: int) -> list[int]:
    """Choose at most ``per_class`` images of every class (all if None), in index order."""
    everything = np.asarray(labels)
    if per_class is None:
        return list(range(len(everything)))
    chosen = [
        seeded_generator("evaluation", seed, k).permutation(np.flatnonzero(everything == k))[:per_class]
        for k in np.unique(everything)
    ]
    return sorted(int(i) for i in np.concatenate(chosen))
