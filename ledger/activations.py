"""Collect class spaces: run a class's images through the network once and fold what flows into each map."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.spaces import Space
from ledger.errors import NonFiniteError, UnsupportedLayerError
from ledger.hookspecs import RowSampler
from ledger.network import EditableLayer, Network
from ledger.plugin_manager import guarded


def collect_spaces(
    network: Network, batches: Iterable[Tensor], sampler: RowSampler, *, max_rank: int, tolerance: float = 0.0
) -> dict[str, Space]:
    """Return the space of every linear map, from one forward pass over one class's images.

    Rows are folded in as they stream; neither images nor activations are kept. The network is not
    changed: hooks come off even on error.

    Args:
        network: In evaluation mode, with the registered weights.
        batches: Preprocessed images (n, channels, height, width).
        sampler: Chooses positions of feature maps.
        max_rank: Largest rank kept for one map.
        tolerance: Share of a map's energy up to which a direction is dropped.

    Raises:
        NonFiniteError: A layer's input holds NaN or infinity.
        UnsupportedLayerError: A layer was never called, so nothing is known of it.
    """
    accumulators = {m.key: CovarianceAccumulator(m.width, max_rank=max_rank) for m in network.maps}

    def hook_for(layer: EditableLayer) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            culprit = f"{type(layer.handler).__name__} on {layer.name}"
            rows = guarded(lambda: layer.handler.input_rows(layer.maps, module, inputs, sampler), culprit)
            for key, values in rows.items():
                if not bool(torch.isfinite(values).all()):
                    raise NonFiniteError(
                        f"the input of {layer.name} holds NaN or infinity", "check the weights and the images"
                    )
                accumulators[key].update(values.float())

        return hook

    hooks = [layer.module.register_forward_pre_hook(hook_for(layer)) for layer in network.layers]
    try:
        with torch.inference_mode():
            for batch in batches:
                network.module(network.placed(batch))
    finally:
        for hook in hooks:
            hook.remove()
    silent = [key for key, accumulator in accumulators.items() if accumulator.rows == 0]
    if silent:
        raise UnsupportedLayerError(
            f"the forward pass never called {', '.join(silent[:3])}", "see unledger model coverage"
        )
    return {key: accumulator.space(tolerance=tolerance) for key, accumulator in accumulators.items()}
