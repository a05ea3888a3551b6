"""The images that a data loader yields, as far as forgetting needs them: by class, and by index."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ledger.domain.settings import Preprocessing
from ledger.errors import DataError

AS_IT_IS = (0.0,), (1.0,)
"""Mean and standard deviation of images that the loader has preprocessed already."""


class LoaderImages:
    """Images of a loader, of each class the first ones: a :class:`~ledger.hookspecs.Split` whose images are ready.

    They are kept in memory, on the processor, and reading ends once every class has as many as are wanted.

    Args:
        loader: Yields pairs of preprocessed images, float (n, channels, height, width), and class indices (n,).
        wanted: Of each class, by index, how many images to keep at most; of one with 0, none need be there.

    Raises:
        DataError: It yields something else, labels that are no classes, images of several shapes, NaN or infinity, or
            no image of a class.
    """

    def __init__(self, loader: Iterable[Sequence[Tensor]], wanted: Mapping[int, int]) -> None:
        self._images: list[Tensor] = []
        self._labels: list[int] = []
        missing = dict(wanted)
        for number, batch in enumerate(loader):
            images, labels = _pair(batch, number)
            for image, label in zip(images, labels.tolist(), strict=True):
                if label not in wanted:
                    raise DataError(
                        f"batch {number} of the loader has label {label}, and the network has {len(wanted)} outputs",
                        "labels must be indices of the network's outputs, from 0",
                    )
                if missing[label]:
                    missing[label] -= 1
                    self._keep(image, label, number)
            if not any(missing.values()):
                break
        without = sorted({k for k, count in wanted.items() if count} - set(self._labels))
        if without:
            shown = ", ".join(map(str, without[:5])) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
            raise DataError(f"the loader yields no image of class {shown}", "every class needs images, retained or not")

    @property
    def labels(self) -> Sequence[int]:
        """Class index of each image."""
        return self._labels

    @property
    def preprocessing(self) -> Preprocessing:
        """What the images are like; nothing is left to do with them."""
        channels, height, width = self._images[0].shape
        return Preprocessing(channels, height, width, *AS_IT_IS)

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:  # noqa: ARG002 - as splits have it
        """Return images as the loader yielded them, float32 (n, channels, height, width)."""
        return torch.stack([self._images[i] for i in indices])

    def _keep(self, image: Tensor, label: int, batch: int) -> None:
        if self._images and image.shape != self._images[0].shape:
            raise DataError(
                f"batch {batch} of the loader has images of shape {tuple(image.shape)}, those before have "
                f"{tuple(self._images[0].shape)}"
            )
        if not bool(torch.isfinite(image).all()):
            raise DataError(f"batch {batch} of the loader holds NaN or infinity")
        # A copy: a view would keep the whole batch.
        self._images.append(image.detach().to("cpu", torch.float32, copy=True))
        self._labels.append(label)


def _pair(batch: Sequence[Tensor], number: int) -> tuple[Tensor, Tensor]:
    hint = "it must yield pairs of images (n, channels, height, width) and class indices (n,)"
    if not isinstance(batch, list | tuple) or len(batch) != 2 or not all(isinstance(one, Tensor) for one in batch):
        raise DataError(f"batch {number} of the loader is no pair of tensors but {type(batch).__name__}", hint)
    images, labels = batch
    if images.dim() != 4 or not images.is_floating_point():
        raise DataError(
            f"batch {number} of the loader has images of shape {tuple(images.shape)} and type {images.dtype}", hint
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError(
            f"batch {number} of the loader has labels of shape {tuple(labels.shape)} and type {labels.dtype}", hint
        )
    return images, labels
