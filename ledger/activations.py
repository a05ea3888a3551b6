"""Collect class spaces: run a class's images through the network once and fold what flows into each map."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.spaces import Space
from ledger.errors import NonFiniteError, UnsupportedLayerError
from ledger.hookspecs import RowSampler
from ledger.layer_calls import reading
from ledger.network import Network


def collect_spaces(
    network: Network, batches: Iterable[Tensor], sampler: RowSampler, *, max_rank: int, tolerance: float = 0.0
) -> dict[str, Space]:
    """Return the space of every linear map, from one forward pass over one class's images.

    Rows are folded in as they stream; neither images nor activations are kept. The network is not
    changed: see :func:`~ledger.layer_calls.reading`.

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

    def fold(culprit: str, rows: Mapping[str, Tensor]) -> None:
        for key, values in rows.items():
            if not bool(torch.isfinite(values).all()):
                raise NonFiniteError(
                    f"the input of {culprit} holds NaN or infinity", "check the weights and the images"
                )
            accumulators[key].update(values.float())

    with reading(network, sampler, fold), torch.inference_mode():
        for batch in batches:
            network.module(network.placed(batch))
    silent = [key for key, accumulator in accumulators.items() if accumulator.rows == 0]
    if silent:
        raise UnsupportedLayerError(
            f"the forward pass never called {', '.join(silent[:3])}", "see unledger model coverage"
        )
    return {key: accumulator.space(tolerance=tolerance) for key, accumulator in accumulators.items()}
