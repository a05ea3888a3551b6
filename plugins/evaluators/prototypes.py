"""Bring a forgotten class back from a few images, without training: by the mean of their features.

After the Prototypical Relearning Attack (Ha, Park, Yoon, arXiv 2506.01318), which writes the mean feature of a few
images of the class into its row of the classifier. Here the classifier is left out altogether: an image belongs to the
class whose mean feature is nearest. So the attack also meets edits of the last layer, and needs no scale of rows.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Restored:
    """Shares of test images that the nearest mean tells right, as means over draws."""

    forgotten: float
    """Of the forgotten class that is told best."""
    retained: float | None
    """Mean over retained classes; None without test images of them."""
    draws: tuple[float, ...]
    """``forgotten`` of each draw."""


def restored(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    forgotten: frozenset[int],
    shots: int,
    draws: int,
    seed: int,
) -> Restored | None:
    """Return how many test images the nearest mean of features tells right; None with fewer images than that.

    Retained classes have the mean of all their training images, forgotten ones that of a few, drawn several times.

    Args:
        train: Features (n, f) and labels int64 (n,) of training images.
        test: The same of test images.
        forgotten: The forgotten classes.
        shots: Images of each forgotten class.
        draws: How often images are drawn.
        seed: Of the draws.
    """
    features, labels = train[0].astype(np.float64), train[1]
    asked, truth = test[0].astype(np.float64), test[1]
    classes = np.unique(labels)
    gone = [int(k) for k in sorted(forgotten) if (labels == k).sum() >= shots and (truth == k).any()]
    if not gone or len(gone) < len(forgotten):
        return None
    means = np.stack([features[labels == k].mean(axis=0) for k in classes])
    generator = np.random.default_rng(seed)
    back, kept = [], []
    for _ in range(draws):
        for k in gone:
            few = generator.choice(np.flatnonzero(labels == k), shots, replace=False)
            means[np.searchsorted(classes, k)] = features[few].mean(axis=0)
        right = classes[nearest(asked, means)] == truth
        back.append(max(float(right[truth == k].mean()) for k in gone))
        kept.append([float(right[truth == k].mean()) for k in np.unique(truth) if k not in forgotten])
    return Restored(float(np.mean(back)), float(np.mean(kept)) if kept[0] else None, tuple(back))


def nearest(features: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return for features (n, f) the number of the nearest of means (k, f) by Euclidean distance, int64 (n,)."""
    # |x - m|^2 = |x|^2 - 2 x.m + |m|^2, of which the first term is the same for all means.
    found: np.ndarray = ((means**2).sum(axis=1) - 2 * features @ means.T).argmin(axis=1)
    return found
