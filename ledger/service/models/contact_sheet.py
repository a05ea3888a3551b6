"""Show what a network sees of the images that a model is registered with, before anything is decided about it."""

from collections.abc import Sequence

import numpy as np
import torch

from ledger.domain.labels import LabelMap
from ledger.domain.settings import Preprocessing
from ledger.hookspecs import DataSource
from ledger.images.contact_sheet import SheetImage, draw
from ledger.images.loading import load_images
from ledger.images.sampling import seeded_generator
from ledger.networks.network import Network

EACH = 5
"""Images of each class."""
MOST_CLASSES = 60
"""Most classes on one sheet; of more, some are chosen."""


def contact_sheet(
    network: Network, source: DataSource, labels: LabelMap, preprocessing: Preprocessing, seed: int
) -> bytes:
    """Return a PNG with a few test images of each class as they reach a network, and what it answers.

    Args:
        network: With the weights to register.
        source: The images, with the indices of the model's classes.
        labels: The model's labels.
        preprocessing: How an image becomes an input.
        seed: Of the choice.
    """
    classes = _some(np.arange(len(labels)), MOST_CLASSES, "classes", seed)
    given = np.asarray(source.test.labels)
    rows = []
    for k in classes:
        indices = _some(np.flatnonzero(given == k), EACH, f"images of {k}", seed)
        batch = load_images(source.test, indices, preprocessing)
        with torch.inference_mode():
            answers = network.module(network.prepare_images(batch)).argmax(1).tolist()
        # What was normalised, as it is seen: taken back to [0, 1].
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (preprocessing.mean, preprocessing.std))
        pixels = (batch * std + mean).numpy()
        rows.append((labels[k], [SheetImage(one, labels[a], a == k) for one, a in zip(pixels, answers, strict=True)]))
    size = f"{preprocessing.channels}x{preprocessing.height}x{preprocessing.width}"
    shown = "" if len(classes) == len(labels) else f", {len(classes)} of {len(labels):,} classes"
    return draw(rows, f"test images as the network gets them, {size}{shown}; below each, what it answers")


def _some(found: np.ndarray, most: int, purpose: str, seed: int) -> Sequence[int]:
    chosen = seeded_generator("contact sheet", seed, purpose).permutation(found)[:most]
    return sorted(int(one) for one in chosen)
