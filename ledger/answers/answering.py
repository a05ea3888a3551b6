"""Let a network answer images, and read from which features it does."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ledger.networks.inference import checked
from ledger.networks.network import Network

from .calibration import Batch
from .featured_answers import FeaturedAnswers

INNER_SHARE = 0.25
"""Share of the layers, counted from the output, at whose beginning features are read beside the last ones."""


def inner_depth(network: Network) -> int:
    """Return how many layers from the output the inner features are read."""
    return max(1, math.ceil(len(network.layers) * INNER_SHARE))


class AnswerReader:
    """Reads answers with their features.

    Args:
        network: Whose layers are read; with the anchor weights.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self.inner_depth = inner_depth(network)
        """Candidates that edit at most so many layers have the anchor's inner features."""
        self._read = [network.layers[-1].module]
        if self.inner_depth > 1:
            self._read.append(network.layers[-self.inner_depth].module)

    @contextmanager
    def inputs(self) -> Iterator[dict[nn.Module, list[Tensor]]]:
        """Gather what flows into the layers whose features are read, while the block runs the network."""
        seen: dict[nn.Module, list[Tensor]] = {module: [] for module in self._read}

        def keep(module: nn.Module, inputs: tuple[object, ...]) -> None:
            if inputs and isinstance(inputs[0], Tensor):
                # A copy: later layers may work in place.
                seen[module].append(inputs[0].clone())

        hooks = [module.register_forward_pre_hook(keep) for module in seen]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def answers(self, logits: Tensor, seen: Mapping[nn.Module, Sequence[Tensor]], batch: Batch) -> FeaturedAnswers:
        """Return the answers to a batch, with what :meth:`inputs` gathered meanwhile."""
        last, *inner = (seen[module] for module in self._read)
        return FeaturedAnswers.of(logits, last, batch, *inner)

    def anchor(self, batch: Batch) -> FeaturedAnswers:
        """Let the anchor weights answer a batch.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        images = self._network.prepare_images(batch.images)
        with self.inputs() as seen, torch.inference_mode():
            logits = self._network.module(images)
        checked(logits)
        return self.answers(logits, seen, batch)
