"""What a network answers to calibration images, and from which features."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .calibration import Batch


@dataclass(frozen=True, eq=False)
class FeaturedAnswers:
    """The answers of one set of weights to n images, on the processor."""

    logits: Tensor
    """float (n, classes)."""
    features: Tensor | None
    """float32 (n, f): what flows into the last layer, averaged over positions; None if that cannot be told."""
    labels: Tensor
    """int64 (n,): index of the true class."""
    held_out: Tensor
    """bool (n,): whether an image is held out from the class spaces."""
    inner: Tensor | None = None
    """float32 (n, g): likewise what flows into a layer further inside; None if there is no such, or it cannot be told.
    """

    @classmethod
    def of(
        cls, logits: Tensor, inputs: Sequence[Tensor], batch: Batch, inner: Sequence[Tensor] = ()
    ) -> "FeaturedAnswers":
        """Take the features from what the last layer, and one further inside, were called with.

        Args:
            logits: (n, classes).
            inputs: The last layer's input at each of its calls.
            batch: The n images.
            inner: The same of the layer further inside.
        """
        held_out = torch.ones(len(batch.labels), dtype=torch.bool) if batch.held_out is None else batch.held_out
        features, further = (_features(one, len(batch.labels)) for one in (inputs, inner))
        return cls(logits.cpu(), features, batch.labels, held_out, further)

    def only(self, chosen: Tensor) -> "FeaturedAnswers":
        """Return the answers to some of the images; ``chosen`` is bool (n,)."""
        features, inner = (None if one is None else one[chosen] for one in (self.features, self.inner))
        return FeaturedAnswers(self.logits[chosen], features, self.labels[chosen], self.held_out[chosen], inner)

    @classmethod
    def joined(cls, parts: Sequence["FeaturedAnswers"]) -> "FeaturedAnswers":
        """Return the answers of several batches, at least one, as one."""
        features, inner = (_joined([getattr(part, name) for part in parts]) for name in ("features", "inner"))
        logits, labels, held_out = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("logits", "labels", "held_out")
        )
        return cls(logits, features, labels, held_out, inner)


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def _features(inputs: Sequence[Tensor], images: int) -> Tensor | None:
    """Return one row for each image: channels come last in sequences, and second in feature maps."""
    if len(inputs) != 1 or inputs[0].ndim < 2 or len(inputs[0]) != images:
        return None
    values = inputs[0].float()
    if values.ndim == 3:
        values = values.mean(1)
    elif values.ndim > 3:
        values = values.flatten(2).mean(2)
    return values.cpu().clone()
