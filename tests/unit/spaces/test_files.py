"""Class spaces as bytes: groups in two tensors, and the one tensor a group of earlier releases."""

from datetime import UTC, datetime

import pytest
import torch
from safetensors.torch import load
from torch import nn

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.grouped import GroupedSpace
from ledger.algebra.spaces import Space
from ledger.domain.class_spaces import MapSummary, NewClassSpace
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins
from ledger.spaces import files
from ledger.spaces.activations import collect_spaces
from ledger.spaces.positions import PositionSampler
from ledger.weights import tensor_files

IMAGES = torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(1))


def network() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(64, 3))
    return Network.of(module, build_plugins().layer_handlers())


def collected(net: Network, batch: int = 5) -> files.MapSpaces:
    return collect_spaces(net, torch.split(IMAGES, batch), PositionSampler(0, 0, 7), max_rank=64)


def record(maps: tuple[MapSummary, ...]) -> NewClassSpace:
    return NewClassSpace(1, 0, "spec", (0,), "samples", "blob", 0, maps, datetime.now(UTC))


def one_by_one(net: Network) -> dict[str, Space]:
    """Return every map's space on its own, as earlier releases collected them."""
    accumulators = {m.key: CovarianceAccumulator(m.width, max_rank=64) for m in net.maps}
    sampler = PositionSampler(0, 0, 7)

    def look(layer: object) -> None:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            for key, rows in layer.handler.input_rows(layer.maps, module, inputs, sampler).items():  # type: ignore[attr-defined]
                accumulators[key].update(rows)

        layer.module.register_forward_pre_hook(hook)  # type: ignore[attr-defined]

    for layer in net.layers:
        look(layer)
    with torch.inference_mode():
        net.module(IMAGES)
    return {key: accumulator.space() for key, accumulator in accumulators.items()}


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_collected_groups_are_those_of_each_map_alone(batch: int) -> None:
    net, alone = network(), one_by_one(network())
    spaces = collected(net, batch)
    assert list(spaces) == ["0.weight", "1.weight", "3.weight"]
    grouped = spaces["0.weight"]
    assert isinstance(grouped, GroupedSpace)
    for g, moments in enumerate(grouped.moments()):
        factor = alone[f"0.weight[{g}]"].factor.double()
        torch.testing.assert_close(moments, factor @ factor.T, rtol=0, atol=1e-5)
        assert float(grouped.trace[g]) == pytest.approx(alone[f"0.weight[{g}]"].trace, rel=1e-5)


def test_a_class_space_survives_being_stored() -> None:
    net = network()
    spaces = collected(net)
    data = files.serialise(spaces)
    summaries = files.summaries(spaces)
    assert [(m.key, m.groups) for m in summaries] == [("0.weight", 4), ("1.weight", 1), ("3.weight", 1)]
    assert sorted(load(data)) == ["0.weight#moments", "0.weight#trace", "1.weight", "3.weight"]
    again = files.parse(data, record(summaries), net.map_groups)
    before, after = spaces["0.weight"], again["0.weight"]
    assert isinstance(before, GroupedSpace)
    assert isinstance(after, GroupedSpace)
    torch.testing.assert_close(after.packed, before.packed.half(), rtol=0, atol=0)
    torch.testing.assert_close(after.trace, before.trace, rtol=0, atol=0)
    assert (after.rows, after.width) == (before.rows, before.width)
    assert files.serialise(again) == data


def test_what_earlier_releases_stored_is_read() -> None:
    net, old = network(), one_by_one(network())
    data = tensor_files.serialise({key: space.factor.half() for key, space in old.items()})
    maps = tuple(MapSummary(k, s.width, s.rank, s.rows, s.trace, s.error_bound) for k, s in old.items())
    read = files.parse(data, record(maps), net.map_groups)["0.weight"]
    new = collected(net)["0.weight"]
    assert isinstance(read, GroupedSpace)
    assert isinstance(new, GroupedSpace)
    assert read.rows == new.rows
    torch.testing.assert_close(read.trace, new.trace, rtol=1e-5, atol=0)
    # Factors were stored in half precision.
    torch.testing.assert_close(read.moments(), new.moments(), rtol=0, atol=1e-3)
