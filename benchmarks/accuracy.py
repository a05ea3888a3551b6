"""Test accuracy of every class, which every benchmark of forgetting asks for."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ledger.networks.inference import logits
from ledger.networks.network import Network


def class_accuracies(
    network: Network, state: Mapping[str, Tensor], batches: Iterable[Tensor], labels: Tensor, classes: int
) -> Tensor:
    """Return the accuracy of every class under some weights, float64 (classes,).

    Args:
        network: Its own weights are not touched.
        state: The weights to ask.
        batches: Preprocessed images (n, channels, height, width), in the order of the labels.
        labels: Class indices, of all batches together.
        classes: How many there are; NaN for one without images.
    """
    correct = (logits(network, state, batches).argmax(1) == labels).double()
    return torch.stack([correct[labels == k].mean() for k in range(classes)])
