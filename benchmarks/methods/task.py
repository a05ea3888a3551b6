"""What every method of forgetting is given: a network, the images it was trained on, and what is to be forgotten.

A method is a function of a task and of its hyper-parameters that returns a state dict. The task's network is not
changed, and the same task gives the same weights.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

State = dict[str, Tensor]

READ_BATCH = 250
"""Images passed at once where nothing is trained."""


@dataclass(frozen=True)
class ImageSet:
    """Some labelled images."""

    images: Tensor
    """Preprocessed, float32 (n, channels, height, width)."""
    labels: Tensor
    """Class indices, int64 (n,)."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def classes(self) -> list[int]:
        """The classes that have images, in order."""
        return [int(k) for k in np.unique(self.labels.numpy())]

    def batches(self, size: int) -> Iterator["ImageSet"]:
        """Yield the images in order, at most ``size`` at once."""
        for start in range(0, len(self), size):
            yield ImageSet(self.images[start : start + size], self.labels[start : start + size])

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator["ImageSet"]:
        """Yield the images in a drawn order, at most ``size`` at once."""
        for picked in torch.randperm(len(self), generator=generator).split(size):  # type: ignore[no-untyped-call]
            yield ImageSet(self.images[picked], self.labels[picked])

    def first_of_each(self, count: int) -> "ImageSet":
        """Return the first ``count`` images of every class, in order."""
        picked = torch.cat([(self.labels == k).nonzero().flatten()[:count] for k in self.classes]).sort().values
        return ImageSet(self.images[picked], self.labels[picked])


@dataclass(frozen=True)
class Task:
    """Some classes that a network has to forget."""

    network: nn.Module
    """With the original weights, in evaluation mode; no method changes it."""
    data: ImageSet
    """Training images of all classes."""
    forgotten: frozenset[int]
    seed: int
    """Decides everything that a method draws."""

    @property
    def retained(self) -> ImageSet:
        """The training images of the classes that stay."""
        return self._those(inside=False)

    @property
    def asked(self) -> ImageSet:
        """The training images of the forgotten classes."""
        return self._those(inside=True)

    def _those(self, *, inside: bool) -> ImageSet:
        chosen = torch.isin(self.data.labels, torch.tensor(sorted(self.forgotten))) == inside
        return ImageSet(self.data.images[chosen], self.data.labels[chosen])

    def copy(self) -> nn.Module:
        """Return a network of one's own with the original weights."""
        return copy.deepcopy(self.network)

    def state(self) -> State:
        """Return a copy of the original weights, by name."""
        return state_of(self.network)

    def generator(self) -> torch.Generator:
        """Return a new source of random numbers."""
        return torch.Generator().manual_seed(self.seed)


def state_of(network: nn.Module) -> State:
    """Return a copy of a network's weights, by name."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def classifier_name(network: nn.Module) -> str:
    """Return the name of a network's last ``nn.Linear``.

    Raises:
        ValueError: It has none, or one without biases.
    """
    linears = {name: part for name, part in network.named_modules() if isinstance(part, nn.Linear)}
    last = next(reversed(linears), "")
    if not linears or linears[last].bias is None:
        raise ValueError("the network needs an nn.Linear with biases as its last layer: these methods change it")
    return last


def answers(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of images (n, ...), float32 (n, classes), in evaluation mode and without gradients."""
    with torch.inference_mode():
        return torch.cat([network(images[start : start + READ_BATCH]) for start in range(0, len(images), READ_BATCH)])


def step(optimiser: Optimizer, loss: Any) -> None:
    """Change what an optimiser holds along the gradient of a loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
