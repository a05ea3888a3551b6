"""Run a network over images with given weights, without touching the weights it holds."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from ledger.errors import NonFiniteError
from ledger.network import Network


def logits(network: Network, state: Mapping[str, Tensor], batches: Iterable[Tensor]) -> Tensor:
    """Return logits, float32 (n, classes), of preprocessed images under ``state``.

    Raises:
        NonFiniteError: A logit is NaN or infinite.
    """
    # A checkpoint may be stored in another precision than the network computes in.
    held = network.state()
    weights = {name: tensor.to(held[name].dtype) for name, tensor in state.items()}
    with torch.inference_mode():
        answers = [functional_call(network.module, weights, (batch,)) for batch in batches]
    result = torch.cat(answers).float()
    if not bool(torch.isfinite(result).all()):
        raise NonFiniteError("the network's outputs hold NaN or infinity", "check the weights and the images")
    return result
