"""What a network's features and answers say of classes: the figures by which two networks are held side by side.

- *Features*: what flows into the last ``nn.Linear``, and, for the middle of the network, into the layer after half of
  the editable ones, averaged over positions. In evaluation mode.
- *Probe*: a logistic regression on standardised features, of all classes, as the evaluator ``probe`` learns it, in
  float32.
- *Nearest class mean*: as the evaluator ``nearest_mean`` has it.
- *Total variation*: half the sum of absolute differences of two distributions, 0 (the same) to 1 (nothing shared).

Probe and means learn from training images and are asked about test images. Their level moves by some points with the
number of images they learn from, so figures of two networks must come from the same ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from probe import classifier_of
from torch import Tensor, nn

from ledger.networks.features import pooled
from ledger.networks.inference import logits
from ledger.networks.network import Network


@dataclass(frozen=True)
class Seen:
    """What a network makes of some images."""

    middle: np.ndarray
    """float32 (n, features)."""
    last: np.ndarray
    """float32 (n, features)."""
    logits: Tensor
    """float32 (n, classes)."""


def look(network: Network, state: Mapping[str, Tensor], batches: Iterable[Tensor]) -> Seen:
    """Run a network and note its features and answers.

    Args:
        network: Its layers are in the order in which an image passes through them. It is not changed.
        state: The weights to use.
        batches: Preprocessed images (n, channels, height, width).

    Raises:
        ValueError: It has no ``nn.Linear``, or goes around one of the two layers.
    """
    places = {"middle": network.layers[len(network.layers) // 2].module, "last": classifier_of(network.module)}
    seen: dict[str, list[Tensor]] = {name: [] for name in places}
    hooks = [module.register_forward_pre_hook(_noting(module, seen[name])) for name, module in places.items()]
    try:
        answers = logits(network, state, batches)
    finally:
        for hook in hooks:
            hook.remove()
    found = {name: torch.cat(parts).numpy() if parts else np.empty((0, 0)) for name, parts in seen.items()}
    for name, values in found.items():
        if len(values) != len(answers):
            raise ValueError(f"{len(values)} rows flowed into the {name} layer, for {len(answers)} images")
    return Seen(found["middle"], found["last"], answers)


def mean_prediction(answers: Tensor, forgotten: Sequence[int]) -> Tensor:
    """Return the mean prediction over the classes that are not forgotten, float64 (classes,), of sum 1.

    Each image's prediction is renormalised before the mean is taken: the forgotten outputs are masked.

    Args:
        answers: Logits (n, classes).
        forgotten: Classes whose share is zero.
    """
    masked = answers.double().clone()
    masked[:, list(forgotten)] = -torch.inf
    return masked.softmax(1).mean(0)


def total_variation(one: Tensor, other: Tensor) -> float:
    """Return half the sum of absolute differences of two distributions (classes,)."""
    return float((one - other).abs().sum() / 2)


def widest(values: Iterable[float]) -> float:
    """Return the largest difference of two values: the spread of what should be equal; 0 for a single one."""
    found = list(values)
    return max(found) - min(found)


def _noting(module: nn.Module, seen: list[Tensor]) -> "_Note":
    return _Note(seen, channels_last=not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)))


@dataclass
class _Note:
    """A hook that keeps what flows into a layer; a copy, since later layers may work in place."""

    seen: list[Tensor]
    channels_last: bool

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # A layer called by keyword shows nothing; that its rows are missing is found out in the end.
        if inputs:
            self.seen.append(pooled(inputs[0].detach(), channels_last=self.channels_last).cpu().clone())
