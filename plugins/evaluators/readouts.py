"""What a classifier of one's own reads out of features: the frame that probes and class means share.

It learns from features of training images of all classes, and is asked about the test images. The same images are used
for every network and every depth, so that figures of two networks differ by their features alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ledger.hookspecs import Depth, EvaluationInput, NetworkRole, SplitName

from .accuracy import difference, group_means, mean_of

Readout = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From features (n, f) and labels (n,) of training images, and features (m, f) of test images, the classes of the
latter, int64 (m,)."""
MOST_IMAGES = 20_000
"""Most training images, over all classes, that a readout learns from."""
ROLES = (NetworkRole.VERSION, NetworkRole.ORIGINAL, NetworkRole.RETRAINED)


def learned_images(labels: np.ndarray, seed: int, most: int = MOST_IMAGES) -> np.ndarray:
    """Choose the training images to learn from: positions, int64 (k,), in order.

    All of them if there are at most ``most``; else as many of each class as that allows, at least one, drawn by seed.

    Args:
        labels: True class of each image (n,).
        seed: Of the draw.
        most: Most images.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    classes = np.unique(labels)
    each = max(1, most // len(classes))
    generator = np.random.default_rng(seed)
    return np.sort(np.concatenate([generator.permutation(np.flatnonzero(labels == k))[:each] for k in classes]))


def read_out(data: EvaluationInput, readout: Readout, learned: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return what a readout recognises: by depth and role, class accuracies on test images and their means.

    None stands where a network does not tell its features at a depth. Networks that were not given are left out, and
    so is everything if fewer than two classes can be learned, or no class is forgotten.

    Args:
        data: What is evaluated.
        readout: The classifier.
        learned: Positions of the training images to learn from.
    """
    labels = data.train.labels[learned]
    if len(np.unique(labels)) < 2 or not data.forgotten:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for depth in Depth:
        # An edit of later layers leaves these features as they were: nothing else would be read out of them.
        known: list[tuple[np.ndarray, np.ndarray, dict[str, Any]]] = []
        found[depth.value] = {}
        for role in ROLES:
            network = data.networks.get(role)
            if network is None:
                continue
            train, test = (network.features(split, depth) for split in (SplitName.TRAIN, SplitName.TEST))
            result = None
            if train is not None and test is not None and len(test):
                same = (one for *pair, one in known if _equal(pair, (train, test)))
                if (result := next(same, None)) is None:
                    correct = readout(train[learned], labels, test) == data.test.labels
                    result = group_means(data.test.labels, correct, len(data.labels), data.forgotten)
                    known.append((train, test, result))
            found[depth.value][role.value] = result
    return found


def gap(by_role: Mapping[str, Any], forgotten: frozenset[int]) -> float | None:
    """Return how far the version is from the retrained network: mean over forgotten classes of absolute differences.

    None if one of both is not known.
    """
    version, retrained = (by_role.get(role.value) for role in (NetworkRole.VERSION, NetworkRole.RETRAINED))
    if not version or not retrained:
        return None
    each = [difference(version["per_class"][k], retrained["per_class"][k]) for k in sorted(forgotten)]
    return mean_of(None if one is None else abs(one) for one in each)


def fall(by_role: Mapping[str, Any]) -> float | None:
    """Return how much less is read out of the version than of the original, mean over forgotten classes."""
    version, original = (by_role.get(role.value) for role in (NetworkRole.VERSION, NetworkRole.ORIGINAL))
    return difference(original["forgotten"], version["forgotten"]) if version and original else None


def of_version(by_role: Mapping[str, Any]) -> float | None:
    """Return the accuracy on forgotten classes of what is read out of the version."""
    version = by_role.get(NetworkRole.VERSION.value)
    return version["forgotten"] if version else None


def _equal(pair: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    return all(np.array_equal(*both) for both in zip(pair, other, strict=True))
