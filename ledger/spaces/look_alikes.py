"""Look-alike groups: the images of a class, parted by what the network takes them for once their own class is masked.

The images of one class lie in several places: cats that resemble dogs, cats that resemble frogs. A network that never
saw the class sends each to its own look-alike, so the mean row of the class alone does not say where its images would
go. Images belong to groups in shares, their masked probabilities of the group's look-alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ledger.algebra.spaces import Space

MOST_LOOK_ALIKES = 4
"""Groups of a class that are kept. On CIFAR-10 four hold some nine tenths of what a class is taken for; eight brought
nothing more (``docs/adr/0016-redirecting.md``)."""
SMALLEST_SHARE = 0.01
"""Share of a class's images below which a look-alike has no group of its own."""


@dataclass(frozen=True, eq=False)
class LookAlikes:
    """The look-alike groups of a class, the largest first; there may be none."""

    classes: Tensor
    """int64 (j,): the class that a group resembles."""
    shares: Tensor
    """float32 (j,): share of the class's images that belongs to the group."""
    predictions: Tensor
    """float32 (classes, j): the group's mean masked prediction; each column sums to 1."""


def look_alikes(predictions: Tensor) -> LookAlikes:
    """Return the look-alike groups of a class.

    Args:
        predictions: Masked predictions of its images, float64 (n, classes).
    """
    shares = predictions.mean(0)
    order = torch.sort(shares, descending=True, stable=True).indices[:MOST_LOOK_ALIKES]
    chosen = order[shares[order] >= SMALLEST_SHARE]
    weights = _weights(predictions, chosen)
    return LookAlikes(chosen, shares[chosen].float(), (predictions.mT @ weights).float())


def deviations(space: Space, image_means: Tensor, predictions: Tensor, groups: LookAlikes) -> Tensor:
    """Return how far the groups' mean rows lie from the class's mean row at one map, as far as its space reaches.

    Args:
        space: Of the class at the map.
        image_means: Mean row of each image, float32 (n, i).
        predictions: Masked predictions of the same images, float64 (n, classes).
        groups: The groups.

    Returns:
        float32 (r, j), as :attr:`~ledger.algebra.spaces.Space.deviations` describes it.
    """
    length = space.length
    # One image is its class's mean, and so are its groups.
    if space.rank == 0 or not length or len(predictions) == 1:
        return torch.zeros(space.rank, len(groups.classes))
    weights = _weights(predictions, groups.classes) - 1 / len(predictions)
    apart = image_means.double().mT @ weights.to(image_means.device) / length
    factor = space.factor.double()
    # The columns of a factor are orthogonal but for rounding, and none is zero: the normal equations are well enough.
    gram = factor.mT @ factor
    found: Tensor = torch.linalg.lstsq(gram, factor.mT @ apart).solution
    return found.float()


class ImageMeans:
    """Keeps the mean input row of each image at the single maps of a network, while its images pass.

    Four bytes an image and input; the look-alike groups are known only once all images were answered.
    """

    def __init__(self) -> None:
        self._batch: dict[str, list[Tensor]] = {}
        self._means: dict[str, list[Tensor]] = {}
        self._uneven: set[str] = set()

    def add(self, key: str, rows: Tensor) -> None:
        """Add rows (n, i) of a map for the images of the batch that is on its way, in the order of the images."""
        self._batch.setdefault(key, []).append(rows)

    def end_batch(self, images: int) -> None:
        """Say that a batch of so many images has passed."""
        for key, calls in self._batch.items():
            if any(len(rows) % images for rows in calls):
                # Rows that do not belong to one image each, as where a layer mixes images.
                self._uneven.add(key)
                continue
            sums = torch.stack([rows.view(images, -1, rows.shape[1]).double().sum(1) for rows in calls]).sum(0)
            count = sum(len(rows) // images for rows in calls)
            self._means.setdefault(key, []).append((sums / count).float())
        self._batch.clear()

    def means(self) -> Mapping[str, Tensor]:
        """Return float32 (n, i) for each map whose rows belong to one image each."""
        return {key: torch.cat(parts) for key, parts in self._means.items() if key not in self._uneven}


def _weights(predictions: Tensor, classes: Tensor) -> Tensor:
    """Return the weight of each image in each group, float64 (n, j); those of a group sum to 1."""
    own = predictions[:, classes]
    weights: Tensor = own / own.sum(0).clamp_min(torch.finfo(torch.float64).tiny)
    return weights
