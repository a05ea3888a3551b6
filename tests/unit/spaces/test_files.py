"""Class statistics as bytes: groups in a few tensors, means in few bytes, and what earlier releases stored."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load
from torch import nn

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.grouped import GroupedAccumulator, GroupedSpace
from ledger.algebra.moment_forms import Spectrum, Triangle
from ledger.algebra.spaces import Space
from ledger.domain.class_spaces import MapSummary, NewClassSpace
from ledger.errors import UnsupportedLayerError
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins
from ledger.spaces import files
from ledger.spaces.activations import collect_spaces
from ledger.spaces.positions import PositionSampler
from ledger.spaces.statistics import ClassStatistics
from ledger.spaces.stored_means import WIDE, from_half, from_steps, half_mean, steps_of_mean
from ledger.weights import tensor_files

IMAGES = torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(1))


def network() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(64, 3))
    return Network.of(module, build_plugins().layer_handlers())


def collected(net: Network, batch: int = 5) -> ClassStatistics:
    return collect_spaces(net, torch.split(IMAGES, batch), PositionSampler(0, 0, 7), max_rank=64, class_index=0)


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
    spaces = collected(net, batch).spaces
    assert list(spaces) == ["0.weight", "1.weight", "3.weight"]
    grouped = spaces["0.weight"]
    assert isinstance(grouped, GroupedSpace)
    for g, moments in enumerate(grouped.moments()):
        factor = alone[f"0.weight[{g}]"].factor.double()
        torch.testing.assert_close(moments, factor @ factor.T, rtol=0, atol=1e-5)
        assert float(grouped.trace[g]) == pytest.approx(alone[f"0.weight[{g}]"].trace, rel=1e-5)


def test_a_class_space_survives_being_stored() -> None:
    net = network()
    statistics = collected(net)
    data = files.serialise(statistics)
    summaries = files.summaries(statistics.spaces)
    assert [(m.key, m.groups) for m in summaries] == [("0.weight", 4), ("1.weight", 1), ("3.weight", 1)]
    grouped = ["0.weight#mean", "0.weight#moments", "0.weight#trace"]
    look_alikes = ["#look-alikes", "#look-alikes.predictions", "#look-alikes.shares"]
    assert sorted(load(data)) == [
        "#deviations",
        *look_alikes,
        "#means",
        "#prediction",
        *grouped,
        "1.weight",
        "3.weight",
    ]
    again = files.parse(data, record(summaries), net.map_groups)
    before, after = statistics.spaces["0.weight"], again.spaces["0.weight"]
    assert isinstance(before, GroupedSpace)
    assert isinstance(after, GroupedSpace)
    torch.testing.assert_close(after.packed, before.packed.half(), rtol=0, atol=0)
    torch.testing.assert_close(after.trace, before.trace, rtol=0, atol=0)
    assert (after.rows, after.width) == (before.rows, before.width)
    torch.testing.assert_close(again.prediction, statistics.prediction, rtol=0, atol=0)
    assert statistics.look_alikes is not None
    assert again.look_alikes is not None
    assert again.look_alikes.classes.tolist() == statistics.look_alikes.classes.tolist() != []
    torch.testing.assert_close(again.look_alikes.predictions, statistics.look_alikes.predictions, rtol=0, atol=0)
    stored, read = statistics.spaces["3.weight"], again.spaces["3.weight"]
    assert isinstance(stored, Space)
    assert isinstance(read, Space)
    torch.testing.assert_close(read.deviations, stored.deviations, rtol=1e-3, atol=1e-3)
    assert files.serialise(again) == data


def test_means_survive_being_stored_nearly_as_they_were() -> None:
    net = network()
    statistics = collected(net)
    record_ = record(files.summaries(statistics.spaces))
    # Only some of the maps are asked for, and in another order: each mean is still its own.
    for groups in (net.map_groups, net.map_groups[::-1], net.map_groups[2:]):
        read = files.parse(files.serialise(statistics), record_, groups).spaces
        for key, space in read.items():
            kept = statistics.spaces[key]
            before, after = kept.mean, space.mean
            assert before is not None
            assert after is not None
            assert after.dtype == torch.float32
            # Half precision; and for a group half of 127 steps, each a part of the root mean square of an input.
            allowed = 6e-4 * torch.linalg.norm(before)
            if isinstance(kept, GroupedSpace):
                allowed = (kept.trace.sum() / kept.rows).sqrt() * 0.5 / 127
            assert float(torch.linalg.norm(after - before)) <= float(allowed)


@given(
    groups=st.integers(1, 4),
    width=st.one_of(st.integers(1, 10), st.sampled_from([WIDE - 1, WIDE])),
    count=st.integers(1, 30),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    offset=st.sampled_from([0.0, 0.3, 5.0]),
    seed=st.integers(0, 2**16),
)
def test_stored_means_are_off_by_no_more_than_stated_whatever_the_scale(
    groups: int, width: int, count: int, scale: float, offset: float, seed: int
) -> None:
    rows = (torch.randn(groups, count, width, generator=torch.Generator().manual_seed(seed)) + offset) * scale
    accumulator = GroupedAccumulator(groups, width)
    accumulator.update(rows)
    space = accumulator.space()
    assert space.mean is not None
    stored = replace(space, packed=space.packed.half())
    steps = steps_of_mean(stored, space.mean)
    assert steps.dtype == (torch.int16 if width >= WIDE else torch.int8)
    largest = rows.double().square().mean(1).sqrt()
    # Half a step, and what half precision rounds off the moments, which for quiet inputs is more than 2**-11.
    allowed = largest * (0.51 / torch.iinfo(steps.dtype).max + 2.0**-11) + 1e-3 * largest.norm(dim=1, keepdim=True)
    read = from_steps(stored, steps)
    assert bool(((read.double() - rows.double().mean(1)).abs() <= allowed).all())
    assert torch.equal(steps_of_mean(stored, read), steps)

    single = CovarianceAccumulator(width, max_rank=2)
    single.update(rows[0])
    one = single.space()
    assert one.mean is not None
    half = half_mean(one, one.mean)
    back = from_half(one, half)
    assert float((back - one.mean).abs().max()) <= 2.0**-11 * float(one.mean.abs().max()) + 1e-7 * scale
    assert torch.equal(half_mean(one, back), half)


def test_maps_without_energy_are_stored_with_mean_zero() -> None:
    quiet, narrow = CovarianceAccumulator(3, max_rank=2), GroupedAccumulator(2, 3)
    quiet.update(torch.zeros(4, 3))
    narrow.update(torch.zeros(2, 4, 3))
    one, several = quiet.space(), narrow.space()
    assert one.mean is not None
    assert several.mean is not None
    assert from_half(one, half_mean(one, one.mean)).tolist() == [0.0] * 3
    assert not from_steps(several, steps_of_mean(several, several.mean)).any()


def test_names_that_two_tensors_would_have_are_refused() -> None:
    found = collected(network())
    clash = {**found.spaces, "0.weight#mean": found.spaces["1.weight"]}
    with pytest.raises(UnsupportedLayerError, match="one name"):
        files.serialise(replace(found, spaces=clash))


def test_means_are_not_read_from_maps_that_are_called_like_them() -> None:
    """Of a release that stored no means: a map of any name is its factor."""
    net = network()
    found = collected(net)
    named = ClassStatistics({**found.spaces, "0.weight#mean": found.spaces["1.weight"]})
    read = files.parse(files.serialise(named), record(files.summaries(named.spaces)), net.map_groups)
    assert read.prediction is None
    assert [space.mean for space in read.spaces.values()] == [None] * 3


def test_means_take_little_beside_the_spaces() -> None:
    torch.manual_seed(0)
    grouped = nn.Conv2d(64, 64, 5, groups=32)
    module = nn.Sequential(nn.Conv2d(4, 64, 3), nn.ReLU(), grouped, nn.Flatten(), nn.Linear(576, 10))
    net = Network.of(module, build_plugins().layer_handlers())
    images = torch.randn(40, 4, 9, 9)
    found = collect_spaces(net, [images], PositionSampler(0, 0, 9), max_rank=64, class_index=0)
    with_means, without = len(files.serialise(found)), len(files.serialise(replace(found, prediction=None)))
    assert without < with_means <= 1.05 * without


def test_what_earlier_releases_stored_is_read() -> None:
    net, old = network(), one_by_one(network())
    data = tensor_files.serialise({key: space.factor.half() for key, space in old.items()})
    maps = tuple(MapSummary(k, s.width, s.rank, s.rows, s.trace, s.error_bound) for k, s in old.items())
    statistics = files.parse(data, record(maps), net.map_groups)
    assert statistics.prediction is None
    assert [space.mean for space in statistics.spaces.values()] == [None] * 3
    read, new = statistics.spaces["0.weight"], collected(net).spaces["0.weight"]
    assert isinstance(read, GroupedSpace)
    assert isinstance(new, GroupedSpace)
    assert read.rows == new.rows
    torch.testing.assert_close(read.trace, new.trace, rtol=1e-5, atol=0)
    # Factors were stored in half precision.
    torch.testing.assert_close(read.moments(), new.moments(), rtol=0, atol=1e-3)


def windowed(kernel: int = 5) -> Network:
    torch.manual_seed(0)
    depthwise = nn.Conv2d(4, 4, kernel, groups=4, padding=kernel // 2)
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), depthwise, nn.Flatten(), nn.Linear(144, 3))
    return Network.of(module, build_plugins().layer_handlers())


def test_windows_are_stored_as_spectra_and_read_again() -> None:
    net = windowed()
    statistics = collected(net)
    data, summaries = files.serialise(statistics), files.summaries(statistics.spaces)
    tensors = load(data)
    assert {name for name in tensors if name.startswith("2.weight")} == {
        *("2.weight#spectrum", "2.weight#couplings", "2.weight#trace", "2.weight#mean"),
    }
    assert tensors["2.weight#spectrum"].dtype == torch.uint8
    assert [m.error_bound for m in summaries if m.key == "2.weight"] == [1.0]
    read = files.parse(data, record(summaries), net.map_groups).spaces["2.weight"]
    kept = statistics.spaces["2.weight"]
    assert isinstance(read, GroupedSpace)
    assert isinstance(kept, GroupedSpace)
    assert read.form == kept.form == Spectrum(5)
    assert torch.equal(read.trace, kept.trace)
    off = torch.linalg.matrix_norm(read.moments() - kept.moments(), ord=2, dim=(1, 2))
    assert float(off.max()) < 0.05
    assert kept.mean is not None
    assert read.mean is not None
    assert float((read.mean - kept.mean).norm()) < 1e-3 * float(kept.mean.norm())


def test_whole_triangles_of_windows_that_an_earlier_release_stored_are_read_as_spectra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = windowed()
    with monkeypatch.context() as patch:
        patch.setattr("ledger.spaces.activations.moment_form", lambda width, _: Triangle(width))
        before = collected(net)
    old = files.serialise(before)
    assert "2.weight#moments" in load(old)
    read = files.parse(old, record(files.summaries(before.spaces)), net.map_groups).spaces["2.weight"]
    new = collected(net).spaces["2.weight"]
    assert isinstance(read, GroupedSpace)
    assert isinstance(new, GroupedSpace)
    assert read.form == Spectrum(5)
    # Half precision.
    torch.testing.assert_close(read.packed, new.packed, rtol=2e-3, atol=2e-2)
    torch.testing.assert_close(read.mean, new.mean, rtol=1e-2, atol=1e-2)


def test_the_rows_of_a_single_image_are_kept_as_they_are() -> None:
    net = network()
    one = collect_spaces(net, [IMAGES[:1]], PositionSampler(0, 0, 7), max_rank=64, tolerance=1e-4, class_index=0)
    space = one.spaces["1.weight"]
    assert isinstance(space, Space)
    assert (space.rank, space.rows, space.error_bound) == (7, 7, 0.0)
    with torch.inference_mode():
        inputs = net.module[0](IMAGES[:1]).flatten(2)[0].T  # type: ignore[index]
    shares = space.factor.T * space.trace**0.5
    nearest = torch.cdist(shares, inputs).amin(1)
    assert float(nearest.max()) < 1e-5
    data = files.serialise(one)
    read = files.parse(data, record(files.summaries(one.spaces)), net.map_groups).spaces["1.weight"]
    assert isinstance(read, Space)
    torch.testing.assert_close(read.factor.float(), space.factor, rtol=1e-3, atol=1e-4)
