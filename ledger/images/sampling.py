"""Choose which training images are used for what.

The choice is a function of the seed and the class alone, so every request makes the same one, and it can be repeated.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ledger.domain.settings import Settings
from ledger.errors import DataError


@dataclass(frozen=True)
class ClassSamples:
    """Training images of one class, by index. Class spaces use no calibration images, unless a class has only one."""

    calibration: tuple[int, ...]
    retain: tuple[int, ...]
    forget: tuple[int, ...]
    """Begins with the same images as the retain samples; more or fewer of them."""

    @property
    def to_be_forgotten(self) -> tuple[int, ...]:
        """Images that forgetting the class is judged on: held-out ones first, then those of its forget space.

        Held-out images alone are too few to tell an accuracy of one per cent from none.
        """
        return tuple(dict.fromkeys(self.calibration + self.forget))


def seeded_generator(*parts: object) -> np.random.Generator:
    """Return a generator that depends on the parts alone: the seed, a purpose, a class, and so on."""
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
    return _evaluated(everything, dict.fromkeys(np.unique(everything).tolist(), per_class), seed)


def bounded_evaluation_samples(
    labels: Sequence[int], per_class: int | None, most: int | None, whole: Collection[int], seed: int
) -> tuple[list[int], list[int]]:
    """Choose images of every class, at most ``most`` in all but at least one of each, and more of some classes.

    Args:
        labels: Class index of every image.
        per_class: Most images of a class; None for all.
        most: Most images of all classes together; None for no limit.
        whole: Classes of which as many are chosen as if there were no limit.
        seed: Decides which.

    Returns:
        Images that do not depend on ``whole``, in index order; and those of ``whole`` that are not among them.
    """
    everything = np.asarray(labels)
    classes = np.unique(everything).tolist()
    each = None if most is None else max(1, most // len(classes))
    if each is None or (per_class is not None and per_class <= each):
        return evaluation_samples(labels, per_class, seed), []
    common = _evaluated(everything, dict.fromkeys(classes, each), seed)
    own = [k for k in classes if k in whole]
    more = _evaluated(everything, dict.fromkeys(own, len(everything) if per_class is None else per_class), seed)
    return common, sorted(set(more) - set(common))


def _evaluated(labels: "np.ndarray", each: Mapping[int, int], seed: int) -> list[int]:
    """Return so many images of each class, the same ones whoever asks for more of them, in index order."""
    chosen = [
        seeded_generator("evaluation", seed, k).permutation(np.flatnonzero(labels == k))[:most]
        for k, most in each.items()
    ]
    return sorted(int(i) for part in chosen for i in part)
