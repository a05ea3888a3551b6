"""Run a network over images with given weights, without touching the weights it holds."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from ledger.errors import NonFiniteError

from .network import Network


def logits(network: Network, state: Mapping[str, Tensor], batches: Iterable[Tensor]) -> Tensor:
    """Return the logits of images under given weights; the weights that the network holds do not matter.

    Args:
        network: The network.
        state: The weights, by name.
        batches: Preprocessed images (b, channels, height, width) each.

    Returns:
        float32 (n, classes), on the processor.

    Raises:
        NonFiniteError: A logit is NaN or infinite.
    """
    weights = network.prepare_weights(state)
    return torch.cat([answers_with(network, weights, batch) for batch in batches])


def answers_with(network: Network, weights: dict[str, Tensor], batch: Tensor) -> Tensor:
    """Return the logits of one batch under weights that :meth:`Network.prepare_weights` prepared.

    Args:
        network: The network.
        weights: Prepared once for many batches.
        batch: Preprocessed images (b, channels, height, width).

    Returns:
        float32 (b, classes), on the processor.

    Raises:
        NonFiniteError: A logit is NaN or infinite.
    """
    with torch.inference_mode():
        return checked(functional_call(network.module, weights, (network.prepare_images(batch),), tie_weights=False))


def checked(answer: Tensor) -> Tensor:
    """Return logits (n, classes) as float32 on the processor.

    Raises:
        NonFiniteError: One is NaN or infinite.
    """
    result = answer.float().cpu()
    if not bool(torch.isfinite(result).all()):
        raise NonFiniteError("the network's outputs hold NaN or infinity", "check the weights and the images")
    return result
