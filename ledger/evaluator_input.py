"""What an evaluator may look at: answers, features, images, and copies of networks that it may train.

Everything beyond the answers is computed when it is asked for, so an evaluator that needs no features costs none.
Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


class SplitName(StrEnum):
    """Which images of a data source are meant."""

    TRAIN = "train"
    TEST = "test"


class Depth(StrEnum):
    """Where in a network features are read: what flows into a layer, averaged over positions."""

    PENULTIMATE = "penultimate"
    """Into the last editable layer, which is the classifier."""
    TWO_THIRDS = "two_thirds"
    """Into the layer after two thirds of the editable ones, in the order in which an image passes through them."""
    ONE_THIRD = "one_third"
    """Into the layer after a third of them."""


class NetworkRole(StrEnum):
    """Which weights are meant."""

    VERSION = "version"
    """The version that is measured."""
    ORIGINAL = "original"
    """The registered weights; after a purge, those that computations start from."""
    COMPARED = "compared"
    """What else the version is compared with, where somebody asked for it."""
    RETRAINED = "retrained"
    """Weights declared to be trained without the forgotten classes."""


@dataclass(frozen=True)
class Outputs:
    """A network's answers for one split, in the split's sampled order."""

    labels: np.ndarray
    """int64 (n,)."""
    probabilities: np.ndarray
    """float64 (n, classes), softmax of the logits."""


class ExaminedNetwork(Protocol):
    """The model's network with one set of weights."""

    @property
    def digest(self) -> str:
        """SHA-256 of the weights file."""
        ...

    @property
    def train(self) -> Outputs:
        """Its answers to the sampled training images."""
        ...

    @property
    def test(self) -> Outputs:
        """Its answers to the sampled test images."""
        ...

    def features(self, split: SplitName, depth: Depth) -> np.ndarray | None:
        """Return what flows into a layer, float32 (n, f), read-only, one row for each image of the split's answers.

        None if that cannot be told: the layer is called several times for an image, or not at all, or the network has
        too few layers for this depth. Computed on first use, for all depths at once, and kept.
        """
        ...

    def copy(self) -> nn.Module:
        """Return a network of one's own with these weights, in evaluation mode; it may be trained at will."""
        ...


@dataclass(frozen=True)
class EvaluationInput:
    """Everything an evaluator may look at.

    What an evaluator of an earlier release reads is all there; what came later has defaults, so that tests of such
    evaluators go on working. An evaluator should say that it cannot measure something by leaving the figure out, or by
    None, never by 0.
    """

    labels: tuple[str, ...]
    forgotten: frozenset[int]
    train: Outputs
    test: Outputs
    base_train: Outputs
    """The same images through the weights compared against (the registered ones by default)."""
    base_test: Outputs
    seed: int
    anchor_train: Outputs | None = None
    """The same images through the registered weights (after a purge, the anchor's); None where the version is compared
    with just these."""
    anchor_test: Outputs | None = None
    networks: Mapping[NetworkRole, ExaminedNetwork] = field(default_factory=dict)
    """Networks with features and copies, by role: at least version and original."""
    images: Callable[[SplitName, Sequence[int]], Tensor] | None = None
    """Returns preprocessed images, float32 (k, channels, height, width): those at these positions of the answers."""
    fresh: Callable[[int], nn.Module] | None = None
    """Returns the network as its architecture begins, untrained, on the processor, from a seed: for reference models.
    Not the registered weights. In evaluation mode."""
    batch_size: int = 64
    """Images that the model's settings pass at once."""

    @property
    def original_train(self) -> Outputs:
        """The answers of the original to the training images, whatever the version is compared with."""
        return self.base_train if self.anchor_train is None else self.anchor_train

    @property
    def original_test(self) -> Outputs:
        """The answers of the original to the test images, whatever the version is compared with."""
        return self.base_test if self.anchor_test is None else self.anchor_test
