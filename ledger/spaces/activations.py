"""Collect a class's statistics: run its images through the network once and accumulate the inputs of each map."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.grouped import GroupedAccumulator, GroupedSpace
from ledger.algebra.moment_forms import moment_form
from ledger.algebra.spaces import Space
from ledger.errors import NonFiniteError, UnsupportedLayerError
from ledger.hookspecs import GroupedRows, RowSampler
from ledger.networks.layer_calls import capture_rows
from ledger.networks.map_groups import MapGroup
from ledger.networks.network import Network

from .look_alikes import ImageMeans, LookAlikes, deviations, look_alikes
from .statistics import ClassStatistics, MaskedPredictions


def collect_spaces(
    network: Network,
    batches: Iterable[Tensor],
    sampler: RowSampler,
    *,
    max_rank: int,
    tolerance: float = 0.0,
    class_index: int | None = None,
) -> ClassStatistics:
    """Return the space of every group of linear maps, from one forward pass over one class's images.

    Rows are accumulated batch by batch; neither images nor activations are kept. The network is not
    changed: see :func:`~ledger.networks.layer_calls.capture_rows`.

    Args:
        network: In evaluation mode, with the anchor weights.
        batches: Preprocessed images (n, channels, height, width).
        sampler: Chooses positions of feature maps.
        max_rank: Largest rank kept for one map; maps in a group are narrow and kept whole.
        tolerance: Share of a map's energy up to which a direction is dropped.
        class_index: The class among the network's outputs, for its mean masked prediction. If not given, the network
            may answer what it likes.

    Returns:
        By group key: the space of a single map, or those of all groups of a layer; and the mean masked prediction.

    Raises:
        NonFiniteError: A layer's input, or an answer that is read, holds NaN or infinity.
        UnsupportedLayerError: A layer was never called, so nothing is known about its inputs.
    """
    accumulators = _accumulators(network, max_rank)
    predictions = None if class_index is None else MaskedPredictions(class_index)
    image_means = ImageMeans()
    images = 0
    groups = {m.key: group for group in network.map_groups for m in group.maps}

    def fold(layer: str, rows: Mapping[str, Tensor]) -> None:
        for group in {groups[key].key: groups[key] for key in rows}.values():
            values = _rows_of(group, rows)
            _require_finite(values, layer)
            accumulators[group.key].update(values.float())
            if predictions is not None and not group.stacked:
                image_means.add(group.key, values.float())

    with capture_rows(network, sampler, fold), torch.inference_mode():
        for batch in batches:
            images += len(batch)
            answer = network.module(network.prepare_images(batch))
            if predictions is not None:
                predictions.update(answer)
                image_means.end_batch(len(batch))
    spaces = _spaces(accumulators, tolerance, one_image=images == 1)
    if predictions is None:
        return ClassStatistics(spaces)
    each = predictions.each()
    found = look_alikes(each)
    known = image_means.means()
    placed = {
        key: _with_deviations(space, known.get(key), each, found) if isinstance(space, Space) else space
        for key, space in spaces.items()
    }
    return ClassStatistics(placed, predictions.mean(), found)


def _accumulators(network: Network, max_rank: int) -> dict[str, CovarianceAccumulator | GroupedAccumulator]:
    return {
        group.key: GroupedAccumulator(group.size, group.width, moment_form(group.width, group.window))
        if group.stacked
        else CovarianceAccumulator(group.width, max_rank=max_rank)
        for group in network.map_groups
    }


def _spaces(
    accumulators: Mapping[str, CovarianceAccumulator | GroupedAccumulator], tolerance: float, *, one_image: bool
) -> dict[str, Space | GroupedSpace]:
    silent = [key for key, accumulator in accumulators.items() if accumulator.rows == 0]
    if silent:
        raise UnsupportedLayerError(
            f"the forward pass never called {', '.join(silent[:3])}", "see unledger model coverage"
        )
    return {
        # The positions of one image are few, and there may be a thousand classes of one image.
        key: acc.space(tolerance=tolerance, as_they_are=one_image)
        if isinstance(acc, CovarianceAccumulator)
        else acc.space()
        for key, acc in accumulators.items()
    }


def _with_deviations(space: Space, image_means: Tensor | None, predictions: Tensor, groups: LookAlikes) -> Space:
    """Return a single map's space with those of the class's look-alike groups; zero where images cannot be told."""
    if image_means is None or len(image_means) != len(predictions):
        return replace(space, deviations=torch.zeros(space.rank, len(groups.classes)))
    return replace(space, deviations=deviations(space, image_means, predictions, groups))


def _rows_of(group: MapGroup, rows: Mapping[str, Tensor]) -> Tensor:
    """Return a single map's rows (n, i), or those of a group (g, n, i)."""
    if not group.stacked:
        return rows[group.key]
    if isinstance(rows, GroupedRows) and rows.maps == group.maps:
        return rows.stacked
    return torch.stack([rows[m.key] for m in group.maps])


def _require_finite(values: Tensor, layer: str) -> None:
    # Minimum and maximum are NaN or infinite if any value is; this takes one pass and no second tensor of that size.
    # It is fast in the order in which values lie in memory.
    lying = values.permute(sorted(range(values.ndim), key=values.stride, reverse=True))
    if values.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(lying))).all()):
        raise NonFiniteError(f"the input of {layer} holds NaN or infinity", "check the weights and the images")
