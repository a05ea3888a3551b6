"""Layer handlers against what the layer itself computes: rows times weight is the layer's output."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's customary name
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import LayerHandler
from ledger.spaces.positions import PositionSampler

# By name: that plugins/ is mapped under ledger is something type checkers do not see.
CONV: LayerHandler = import_module("ledger.plugins.layers.conv").Conv2dHandler()
LINEAR: LayerHandler = import_module("ledger.plugins.layers.linear").LinearHandler()
EVERYWHERE = 10**6
"""More positions per image than any map here has: all are read."""


def outputs_at(output: Tensor, positions: Tensor | None) -> Tensor:
    """Return a feature map (n, c, h, w) as rows (n * p, c) at some flat positions."""
    rows = output.flatten(2).transpose(1, 2)
    if positions is not None:
        rows = rows.gather(1, positions.unsqueeze(-1).expand(-1, -1, rows.shape[2]))
    return rows.flatten(0, 1)


def outputs_of(layer: nn.Module, maps: tuple[LinearMap, ...], rows: dict[str, Tensor]) -> Tensor:
    """Return rows times each map's slice of the weight, side by side, plus the bias."""
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    return torch.cat([rows[m.key] @ weight.flatten(1)[m.start : m.stop].T for m in maps], dim=1) + bias


def read(handler: LayerHandler, layer: nn.Module, inputs: Tensor, per_image: int) -> tuple[tuple[LinearMap, ...], Any]:
    maps = tuple(handler.linear_maps("layer", layer))
    with torch.no_grad():
        return maps, handler.input_rows(maps, layer, (inputs,), PositionSampler(3, 1, per_image))


SMALL = st.integers(1, 3)
PAIR = st.tuples(SMALL, SMALL)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, Tensor]:
    """Draw a convolution with any of torch's options, and images it accepts."""
    groups = draw(SMALL)
    kernel, dilation = draw(PAIR), draw(PAIR)
    mode: Any = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    padding: Any = draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(st.integers(0, 3), st.integers(0, 3))))
    stride = (1, 1) if padding == "same" else draw(PAIR)
    height, width = draw(st.integers(4, 9)), draw(st.integers(4, 9))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    layer = nn.Conv2d(
        groups * draw(SMALL),
        groups * draw(SMALL),
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=mode,
    )
    return layer, torch.randn(draw(SMALL), layer.in_channels, height, width)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(drawn=convolutions(), per_image=st.sampled_from([1, 4, EVERYWHERE]))
def test_convolution_rows_times_the_weight_are_its_output(drawn: tuple[nn.Conv2d, Tensor], per_image: int) -> None:
    layer, images = drawn
    try:
        output = layer(images).detach()
    except RuntimeError:
        assume(False)  # the kernel is larger than the image, or the padding than reflection allows
        raise
    maps, rows = read(CONV, layer, images, per_image)
    positions = PositionSampler(3, 1, per_image).positions("layer.weight", len(images), output[0, 0].numel())
    # Sums of up to 27 float32 products in another order.
    torch.testing.assert_close(outputs_of(layer, maps, rows), outputs_at(output, positions), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
@pytest.mark.parametrize("padding", [0, 1, (2, 0)])
@pytest.mark.parametrize("dilation", [1, (2, 1)])
@pytest.mark.parametrize("kernel", [1, 3, (3, 2)])
def test_convolution_rows_are_torchs_own_unfolding(
    stride: int | tuple[int, int],
    padding: int | tuple[int, int],
    dilation: int | tuple[int, int],
    kernel: int | tuple[int, int],
) -> None:
    layer = nn.Conv2d(3, 2, kernel, stride=stride, padding=padding, dilation=dilation)
    images = torch.randn(2, 3, 8, 7)
    (only,), rows = read(CONV, layer, images, EVERYWHERE)
    unfolded = F.unfold(images, layer.kernel_size, dilation=dilation, padding=padding, stride=stride)
    # Copies of the same numbers: equal to the last bit.
    torch.testing.assert_close(rows[only.key], unfolded.transpose(1, 2).flatten(0, 1), rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, "same"])
def test_convolution_rows_are_padded_with_the_layers_own_values(mode: Any, padding: Any) -> None:
    layer = nn.Conv2d(2, 2, (3, 2), padding=padding, padding_mode=mode)
    images = torch.rand(1, 2, 5, 6) + 1
    # 'same' with an even kernel pads one more column on the right; amounts are left, right, top, bottom.
    amounts = [0, 1, 1, 1] if padding == "same" else [1, 1, 1, 1]
    (only,), rows = read(CONV, layer, images, EVERYWHERE)
    expected = F.unfold(F.pad(images, amounts, mode=mode), layer.kernel_size)
    torch.testing.assert_close(rows[only.key], expected[0].T, rtol=0, atol=0)
    assert float(rows[only.key].min()) >= 1, "a zero in a row was never in the image"


def test_zero_padding_adds_zeros_at_the_border_alone() -> None:
    layer = nn.Conv2d(1, 1, 3, padding=1)
    (only,), rows = read(CONV, layer, torch.ones(1, 1, 4, 4), EVERYWHERE)
    zeros = (rows[only.key] == 0).sum(dim=1).reshape(4, 4)
    assert zeros.tolist() == [[5, 3, 3, 5], [3, 0, 0, 3], [3, 0, 0, 3], [5, 3, 3, 5]]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_each_group_of_a_convolution_is_a_map_over_its_own_channels(groups: int) -> None:
    layer = nn.Conv2d(4, 8, 3, groups=groups)
    maps = tuple(CONV.linear_maps("stem.conv", layer))
    assert [(m.start, m.stop) for m in maps] == [(8 // groups * g, 8 // groups * (g + 1)) for g in range(groups)]
    assert {m.parameter for m in maps} == {"stem.conv.weight"}
    assert {m.width for m in maps} == {4 // groups * 9}
    assert [m.key for m in maps] == (
        ["stem.conv.weight"] if groups == 1 else [f"stem.conv.weight[{g}]" for g in range(groups)]
    )
    images = torch.randn(2, 4, 5, 5)
    _, rows = read(CONV, layer, images, EVERYWHERE)
    for g, rows_of_group in enumerate(rows.values()):
        own = images[:, 4 // groups * g : 4 // groups * (g + 1)]
        torch.testing.assert_close(rows_of_group, F.unfold(own, 3).transpose(1, 2).flatten(0, 1), rtol=0, atol=0)


def test_a_depthwise_convolution_has_one_map_for_each_channel() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1, groups=3)
    images = torch.randn(2, 3, 6, 6)
    maps, rows = read(CONV, layer, images, EVERYWHERE)
    assert [m.width for m in maps] == [9, 9, 9]
    torch.testing.assert_close(outputs_of(layer, maps, rows), outputs_at(layer(images), None).detach())


@given(
    width=SMALL,
    out=SMALL,
    leading=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    per_image=st.sampled_from([1, 2, EVERYWHERE]),
)
def test_linear_rows_times_the_weight_are_its_output(width: int, out: int, leading: list[int], per_image: int) -> None:
    layer = nn.Linear(width, out)
    inputs = torch.randn(*leading, width)
    maps, rows = read(LINEAR, layer, inputs, per_image)
    assert [(m.start, m.stop, m.width) for m in maps] == [(0, out, width)]
    output = layer(inputs).detach()
    expected = output
    if output.ndim > 2:
        tokens = output.flatten(1, -2)
        positions = PositionSampler(3, 1, per_image).positions("layer.weight", *tokens.shape[:2])
        if positions is not None:
            tokens = tokens.gather(1, positions.unsqueeze(-1).expand(-1, -1, out))
        expected = tokens.flatten(0, 1)
    torch.testing.assert_close(outputs_of(layer, maps, rows), expected)


def test_linear_rows_of_plain_features_are_the_features() -> None:
    features = torch.randn(5, 4)
    (only,), rows = read(LINEAR, nn.Linear(4, 2), features, 1)
    assert (only.key, only.parameter) == ("layer.weight", "layer.weight")
    torch.testing.assert_close(rows["layer.weight"], features, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("handler", "build", "shape"),
    [
        (CONV, lambda: nn.Conv2d(2, 3, 3, padding=1), (6, 2, 5, 5)),
        (CONV, lambda: nn.Conv2d(4, 4, 3, groups=2), (6, 4, 5, 5)),
        (LINEAR, lambda: nn.Linear(4, 3), (6, 7, 4)),
        (LINEAR, lambda: nn.Linear(4, 3), (6, 4)),
    ],
)
@pytest.mark.parametrize("per_image", [2, EVERYWHERE])
def test_rows_do_not_depend_on_how_images_are_batched(
    handler: LayerHandler, build: Callable[[], nn.Module], shape: tuple[int, ...], per_image: int
) -> None:
    layer, inputs = build(), torch.randn(shape)
    maps, at_once = read(handler, layer, inputs, per_image)
    sampler = PositionSampler(3, 1, per_image)
    parts = [handler.input_rows(maps, layer, (batch,), sampler) for batch in torch.split(inputs, [1, 3, 2])]
    for key, rows in at_once.items():
        torch.testing.assert_close(torch.cat([part[key] for part in parts]), rows, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("handler", "layer", "shape"),
    [(CONV, nn.Conv2d(2, 3, 3), (2, 2, 5, 5)), (LINEAR, nn.Linear(4, 3), (2, 5, 4))],
)
def test_reading_rows_changes_neither_layer_nor_inputs(
    handler: LayerHandler, layer: nn.Module, shape: tuple[int, ...]
) -> None:
    inputs = torch.randn(shape)
    before = {name: value.clone() for name, value in layer.state_dict().items()}, inputs.clone()
    read(handler, layer, inputs, 2)
    torch.testing.assert_close((dict(layer.state_dict()), inputs), before, rtol=0, atol=0)
    assert layer.training
