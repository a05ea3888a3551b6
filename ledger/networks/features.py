"""Read features: what flows into a few layers of a network, averaged over positions.

A linear map sees of its input what features show of it, so what cannot be read from them cannot be read by the layer.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from ledger.evaluator_input import Depth

from .network import Network

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
"""Layers whose inputs have their channels in the second dimension; others have them in the last."""


def feature_layers(network: Network) -> dict[Depth, nn.Module]:
    """Return the layer into which the features of each depth flow; depths that the network is too shallow for lack.

    Args:
        network: Its layers are in the order in which an image passes through them.
    """
    layers = network.layers
    if not layers:
        return {}
    last = len(layers) - 1
    places = {
        Depth.PENULTIMATE: last,
        Depth.TWO_THIRDS: round(2 * last / 3),
        Depth.ONE_THIRD: round(last / 3),
    }
    # What flows into the first layer is the image itself.
    taken: set[int] = set() if last else {-1}
    found = {}
    for depth, place in places.items():
        if (place > 0 or depth is Depth.PENULTIMATE) and place not in taken:
            taken.add(place)
            found[depth] = layers[place].module
    return found


@dataclass
class FeatureReader:
    """Gathers the features of some depths while a network runs.

    Args:
        places: The layer of each depth.
    """

    places: Mapping[Depth, nn.Module]
    _parts: dict[Depth, list[np.ndarray]] = field(default_factory=dict)
    _unclear: set[Depth] = field(default_factory=set)

    @contextmanager
    def reading(self, images: int) -> Iterator[None]:
        """Read what flows into the layers while the block runs one batch of ``images`` images."""
        seen: dict[Depth, list[Tensor]] = {depth: [] for depth in self.places}

        def noting(depth: Depth, *, channels_last: bool) -> "_Note":
            return _Note(seen[depth], channels_last=channels_last)

        hooks = [
            module.register_forward_pre_hook(noting(depth, channels_last=not isinstance(module, CONVOLUTIONS)))
            for depth, module in self.places.items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        for depth, calls in seen.items():
            # A layer that is called several times, or for each position as an image of its own, has no one input.
            if len(calls) == 1 and len(calls[0]) == images:
                self._parts.setdefault(depth, []).append(calls[0].cpu().numpy())
            else:
                self._unclear.add(depth)

    def features(self) -> dict[Depth, np.ndarray | None]:
        """Return what was gathered, float32 (n, f), by depth; None where it cannot be told."""
        return {
            depth: None if depth in self._unclear or depth not in self._parts else np.concatenate(self._parts[depth])
            for depth in Depth
        }


@dataclass
class _Note:
    """A hook that keeps what flows into a layer; a copy, since later layers may work in place."""

    seen: list[Tensor]
    channels_last: bool

    def __call__(self, _module: nn.Module, inputs: tuple[object, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            self.seen.append(pooled(inputs[0].detach(), channels_last=self.channels_last).clone())


def pooled(inputs: Tensor, *, channels_last: bool) -> Tensor:
    """Return the mean over positions, float32 (n, channels), of what flows into a layer (n, ...)."""
    if inputs.dim() <= 2:
        return inputs.float()
    rows = inputs.flatten(1, -2) if channels_last else inputs.flatten(2).transpose(1, 2)
    return rows.float().mean(1)
