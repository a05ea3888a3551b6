"""Every layer handler against its layer written out, for random shapes and options (``ledger.testing``)."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's customary name
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from timm.layers.cond_conv2d import CondConv2d
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.linear import Linear as TimmLinear
from timm.layers.std_conv import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from timm.models.beit import Attention as BeitAttention
from timm.models.eva import EvaAttention
from timm.models.swiftformer import EfficientAdditiveAttention
from timm.models.swin_transformer_v2 import WindowAttention as SwinV2Attention
from torch import Tensor, nn
from torchvision.models.swin_transformer import ShiftedWindowAttention, ShiftedWindowAttentionV2

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import RowSampler
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins
from ledger.testing.layer_contract import (
    IMAGES,
    Explicit,
    OneLayer,
    Through,
    check_layer,
    explicit_rows,
    read_moments,
)

HANDLERS = build_plugins().layer_handlers()
check = partial(check_layer, handlers=HANDLERS)


# -- layers written out -----------------------------------------------------------------------------


def linear(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    features = args[0]
    rows = through("weight", features.reshape(-1, features.shape[-1]))
    answer = rows @ layer.weight.T + (0 if layer.bias is None else layer.bias)
    return answer.reshape(*features.shape[:-1], -1)


def padded_by_option(layer: Any, images: Tensor) -> Tensor:
    if isinstance(layer.padding, str):
        totals = [
            d * (k - 1) if layer.padding == "same" else 0
            for k, d in zip(layer.kernel_size, layer.dilation, strict=True)
        ]
        around = [(total // 2, total - total // 2) for total in totals]
    else:
        around = [(p, p) for p in layer.padding]
    mode = getattr(layer, "padding_mode", "zeros")
    return F.pad(images, [n for pair in reversed(around) for n in pair], "constant" if mode == "zeros" else mode)


def padded_as_tensorflow(layer: Any, images: Tensor) -> Tensor:
    around = []
    for pixels, k, s, d in zip(images.shape[2:], layer.kernel_size, layer.stride, layer.dilation, strict=True):
        total = max(0, (math.ceil(pixels / s) - 1) * s + (k - 1) * d + 1 - pixels)
        around.append((total // 2, total - total // 2))
    return F.pad(images, [n for pair in reversed(around) for n in pair])


def keys(name: str, groups: int) -> list[str]:
    return [name] if groups == 1 else [f"{name}[{g}]" for g in range(groups)]


def convolve(layer: Any, images: Tensor, weight: Any, through: Through, *, centre: bool = False) -> Any:
    """Convolve padded images (n, c, h, w) without bias, patch by patch."""
    patches: Any = F.unfold(images, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    of_group = patches.transpose(1, 2).unflatten(2, (layer.groups, -1)).unbind(2)
    if centre:
        of_group = tuple(rows - rows.mean(2, keepdim=True) for rows in of_group)
    answers = [
        through(key, rows.flatten(0, 1)) @ kernel.flatten(1).T
        for key, rows, kernel in zip(keys("weight", layer.groups), of_group, weight.chunk(layer.groups), strict=True)
    ]
    reach = [d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    shape = [(p - r) // s + 1 for p, r, s in zip(images.shape[2:], reach, layer.stride, strict=True)]
    return torch.unflatten(torch.cat(answers, 1), 0, (len(images), *shape)).movedim(-1, 1)


def biased(layer: Any, answer: Any) -> Any:
    bias = 0 if layer.bias is None else layer.bias.view(-1, *[1] * (answer.ndim - 2))
    return answer + bias


def conv2d(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    return biased(layer, convolve(layer, padded_by_option(layer, args[0]), layer.weight, through))


def conv2d_same(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    return biased(layer, convolve(layer, padded_as_tensorflow(layer, args[0]), layer.weight, through))


def std_conv(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    raw = layer.weight.flatten(1)
    mean, variance = raw.mean(1, keepdim=True), raw.var(1, unbiased=False, keepdim=True)
    gain = layer.gain.view(-1, 1) * layer.scale if hasattr(layer, "gain") else 1
    weight = (gain * (raw - mean) / (variance + layer.eps).sqrt()).view_as(layer.weight)
    pad = padded_as_tensorflow if getattr(layer, "same_pad", False) else padded_by_option
    return biased(layer, convolve(layer, pad(layer, args[0]), weight, through, centre=True))


def cond_conv(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    images, routing = args
    pad = padded_as_tensorflow if layer.dynamic_padding else padded_by_option
    answers = []
    for image, shares in zip(images, routing, strict=True):
        kernel = sum(share * expert for share, expert in zip(shares, layer.weight, strict=True))
        answers.append(convolve(layer, pad(layer, image[None]), kernel.view(layer.weight_shape), through))
    return torch.cat(answers)


def conv1d(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    signal = padded_by_option(layer, args[0])
    (kernel,), (stride,), (dilation,) = layer.kernel_size, layer.stride, layer.dilation
    steps = range(0, signal.shape[2] - dilation * (kernel - 1), stride)
    patches = torch.stack([signal[:, :, i : i + dilation * (kernel - 1) + 1 : dilation] for i in steps], 1)
    answers = []
    for g, (key, weight) in enumerate(zip(keys("weight", layer.groups), layer.weight.chunk(layer.groups), strict=True)):
        own = patches.chunk(layer.groups, 2)[g]
        answers.append(through(key, own.flatten(2).flatten(0, 1)) @ weight.flatten(1).T)
    return biased(layer, torch.unflatten(torch.cat(answers, 1), 0, (len(signal), len(steps))).movedim(-1, 1))


def conv3d(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    volume = padded_by_option(layer, args[0])
    reach = [d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    starts = [range(0, p - r + 1, s) for p, r, s in zip(volume.shape[2:], reach, layer.stride, strict=True)]
    a, b, c = layer.dilation
    patches = torch.stack(
        [
            volume[:, :, x : x + reach[0] : a, y : y + reach[1] : b, z : z + reach[2] : c]
            for x in starts[0]
            for y in starts[1]
            for z in starts[2]
        ],
        1,
    )
    answers = []
    for g, (key, weight) in enumerate(zip(keys("weight", layer.groups), layer.weight.chunk(layer.groups), strict=True)):
        own = patches.chunk(layer.groups, 2)[g]
        answers.append(through(key, own.flatten(2).flatten(0, 1)) @ weight.flatten(1).T)
    shape = [len(volume), *(len(s) for s in starts)]
    return biased(layer, torch.unflatten(torch.cat(answers, 1), 0, shape).movedim(-1, 1))


def conv_transpose2d(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    (images,) = args
    size = layer(images).shape[2:]
    answers = []
    for g, key in enumerate(keys("weight", layer.groups)):
        own, kernel = images.chunk(layer.groups, 1)[g], layer.weight.chunk(layer.groups)[g]
        pixels = own.flatten(2).transpose(1, 2)
        spread = through(key, pixels.flatten(0, 1)) @ kernel.flatten(1)
        patches = spread.unflatten(0, (len(images), -1)).transpose(1, 2)
        options = {"dilation": layer.dilation, "padding": layer.padding, "stride": layer.stride}
        answers.append(F.fold(patches, size, layer.kernel_size, **options))
    return biased(layer, torch.cat(answers, 1))


def multihead(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    query, key, value = args[:3]
    if query.ndim == 2:
        return multihead_batched(layer, query[None], key[None], value[None], through)[0]
    if not layer.batch_first:
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
    answer = multihead_batched(layer, query, key, value, through)
    return answer if layer.batch_first else answer.transpose(0, 1)


def multihead_batched(layer: Any, query: Any, key: Any, value: Any, through: Through) -> Any:
    if layer.in_proj_weight is None:
        weights = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
        names = ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
    else:
        weights = list(layer.in_proj_weight.chunk(3))
        names = ["in_proj_weight[q]", "in_proj_weight[k]", "in_proj_weight[v]"]
    biases = layer.in_proj_bias.chunk(3) if layer.in_proj_bias is not None else (0, 0, 0)
    projected = []
    for name, weight, bias, sequence in zip(names, weights, biases, (query, key, value), strict=True):
        rows = through(name, sequence.flatten(0, 1))
        projected.append((rows @ weight.T + bias).view(*sequence.shape[:2], -1))
    q, k, v = projected
    if layer.bias_k is not None:
        k = torch.cat([k, layer.bias_k.expand(len(k), -1, -1)], 1)
        v = torch.cat([v, layer.bias_v.expand(len(v), -1, -1)], 1)
    q, k, v = (t.unflatten(2, (layer.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
    attention = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(3)
    gathered = (attention @ v).transpose(1, 2).flatten(2)
    rows = through("out_proj.weight", gathered.flatten(0, 1))
    answer = rows @ layer.out_proj.weight.T + (0 if layer.out_proj.bias is None else layer.out_proj.bias)
    return answer.view_as(gathered)


def only_through_qkv(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    """Features enter these layers by ``qkv`` alone, and what is gathered by ``proj`` alone."""
    tokens = args[0]
    name = "qkv.weight"
    original, seen = layer.proj, []

    class Projection(nn.Module):
        def forward(self, gathered: Tensor) -> Any:
            seen.append(gathered)
            rows = through("proj.weight", gathered.flatten(0, 1))
            return (rows @ original.weight.T + original.bias).view(*gathered.shape[:2], -1)

    layer.proj = Projection()
    try:
        answer: Tensor = layer(through(name, tokens.flatten(0, 1)).view_as(tokens))
    finally:
        layer.proj = original
    assert len(seen) == 1
    return answer


def shifted_window(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    """Every token of the padded map attends to every other, with minus infinity between windows."""
    (features,) = args
    n, height, width, size = features.shape
    sides = [-(-extent // side) * side for extent, side in zip((height, width), layer.window_size, strict=True)]
    shifts = [s if w < side else 0 for s, w, side in zip(layer.shift_size, layer.window_size, sides, strict=True)]
    tokens = through("qkv.weight", features.flatten(0, 2)) @ layer.qkv.weight.T
    bias = layer.qkv.bias
    if bias is not None:
        if isinstance(layer, ShiftedWindowAttentionV2):
            bias = torch.cat([bias[:size], torch.zeros(size), bias[2 * size :]])
    else:
        bias = torch.zeros(3 * size)
    padded = torch.zeros(n, *sides, 3 * size)
    padded[:, :height, :width] = tokens.unflatten(0, (n, height, width))
    parts = (padded + bias).flatten(1, 2).unflatten(-1, (3, layer.num_heads, -1))
    queries, keys, values = parts.permute(2, 0, 3, 1, 4)
    between = _between_tokens(layer, sides, shifts)
    if isinstance(layer, ShiftedWindowAttentionV2):
        scale = layer.logit_scale.clamp(max=math.log(100.0)).exp()
        products = F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).mT * scale
    else:
        products = queries @ keys.mT / math.sqrt(size // layer.num_heads)
    answer = ((products + between).softmax(-1) @ values).transpose(1, 2).flatten(2)
    answer = answer.unflatten(1, sides)[:, :height, :width].flatten(0, 2)
    answer = through("proj.weight", answer) @ layer.proj.weight.T
    answer = answer if layer.proj.bias is None else answer + layer.proj.bias
    return answer.unflatten(0, (n, height, width))


def _between_tokens(layer: Any, sides: list[int], shifts: list[int]) -> Tensor:
    """Return what is added to the product of each two tokens of the padded map: (heads, tokens, tokens)."""
    if isinstance(layer, ShiftedWindowAttentionV2):
        table = 16 * torch.sigmoid(layer.cpb_mlp(layer.relative_coords_table).flatten(0, 2))
    else:
        table = layer.relative_position_bias_table
    places = list(itertools.product(*(range(side) for side in sides)))
    between = torch.full((layer.num_heads, len(places), len(places)), -math.inf)
    for (i, one), (j, other) in itertools.product(enumerate(places), repeat=2):
        offset, apart, same = 0, 0.0, True
        for first, second, side, shift, window in zip(one, other, sides, shifts, layer.window_size, strict=True):
            a, b = (first - shift) % side, (second - shift) % side
            same &= a // window == b // window
            # Of the last window, what came around from the other edge is strange to the rest.
            apart = -100.0 if (a >= side - shift) != (b >= side - shift) else apart
            offset = offset * (2 * window - 1) + (a % window - b % window) + window - 1
        if same:
            between[:, i, j] = table[offset] + apart
    return between


def additive_attention(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    images = args[0]

    def product(name: str, rows: Any) -> Any:
        part = layer.get_submodule(name)
        flat = through(f"{name}.weight", rows.flatten(0, 1)) @ part.weight.T + part.bias
        return flat.unflatten(0, rows.shape[:2])

    tokens: Any = images.flatten(2).transpose(1, 2)
    query, key = (F.normalize(product(name, tokens), dim=2) for name in ("to_query", "to_key"))
    scores = through("w_g", query.flatten(0, 1)) @ layer.w_g
    attention = F.normalize(scores.unflatten(0, query.shape[:2]) * layer.scale_factor, dim=1)
    gathered = (attention * query).sum(1, keepdim=True)
    answer = product("final", product("proj", gathered * key) + query)
    return answer.transpose(1, 2).unflatten(2, images.shape[2:])


def recurrent(layer: Any, args: tuple[Any, ...], through: Through) -> Any:
    (sequence,) = args
    steps = sequence if layer.batch_first else sequence.transpose(0, 1)
    for depth in range(layer.num_layers):
        answers = []
        for suffix in (f"_l{depth}", f"_l{depth}_reverse")[: 1 + layer.bidirectional]:
            turned = steps.flip(1) if suffix.endswith("reverse") else steps
            states = run_cells(layer, turned, suffix, through)
            answers.append(states.flip(1) if suffix.endswith("reverse") else states)
        steps = torch.cat(answers, 2)
    return steps if layer.batch_first else steps.transpose(0, 1)


def run_cells(layer: Any, steps: Tensor, suffix: str, through: Through) -> Any:
    hidden = cell = steps.new_zeros(len(steps), layer.hidden_size)
    states = []
    for step in steps.unbind(1):
        a = through(f"weight_ih{suffix}", step) @ getattr(layer, f"weight_ih{suffix}").T
        b = through(f"weight_hh{suffix}", hidden) @ getattr(layer, f"weight_hh{suffix}").T
        if layer.bias:
            a, b = a + getattr(layer, f"bias_ih{suffix}"), b + getattr(layer, f"bias_hh{suffix}")
        if layer.mode == "LSTM":
            i, f, g, o = (a + b).chunk(4, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
        elif layer.mode == "GRU":
            (r, z, n), (rb, zb, nb) = a.chunk(3, 1), b.chunk(3, 1)
            keep = (z + zb).sigmoid()
            hidden = keep * hidden + (1 - keep) * (n + (r + rb).sigmoid() * nb).tanh()
        else:
            hidden = (a + b).tanh()
        states.append(hidden)
    return torch.stack(states, 1)


# -- random layers of each kind -----------------------------------------------------------------------

FEW = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
SMALL = st.integers(1, 3)
PAIR = st.tuples(SMALL, SMALL)
SEEDS = st.integers(0, 2**16)


def try_it(layer: nn.Module, *args: Any) -> None:
    """Give up on options that torch itself refuses for this input: too large a kernel, too small an image."""
    try:
        answer = layer(*args)
    except RuntimeError:
        assume(False)
        raise
    assume(answer.numel() > 0)


@pytest.mark.parametrize("kind", [nn.Linear, TimmLinear, nn.modules.linear.NonDynamicallyQuantizableLinear])
@given(width=st.integers(2, 5), leading=st.lists(st.integers(1, 4), min_size=1, max_size=3), bias=st.booleans())
@FEW
def test_linear(*, kind: Any, width: int, leading: list[int], bias: bool) -> None:
    torch.manual_seed(width)
    check(linear, kind(width, 3, bias=bias), (torch.randn(*leading, width),))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(data=st.data())
@FEW
def test_conv2d(data: st.DataObject) -> None:
    layer, images = any_conv2d(data, nn.Conv2d)
    try_it(layer, images)
    check(conv2d, layer, (images,))


@pytest.mark.parametrize("side", [5, 6, 7])
@pytest.mark.parametrize(
    ("kind", "explicit"), [(nn.Conv2d, conv2d), (Conv2dSame, conv2d_same), (ScaledStdConv2d, std_conv)]
)
def test_windows_of_one_channel_are_read_as_spectra(kind: Any, explicit: Explicit, side: int) -> None:
    torch.manual_seed(side)
    layer, images = kind(3, 6, side, padding=side // 2, groups=3, stride=2), torch.randn(2, 3, 9, 8)
    if kind is Conv2dSame:
        layer = kind(3, 6, side, groups=3, stride=2)
    check(explicit, layer, (images,))
    network = Network.of(OneLayer(layer.eval(), (images,)), HANDLERS).observed(IMAGES)
    assert [group.window for group in network.map_groups] == [side]


@pytest.mark.parametrize("shape", [(5, 3), (3, 3)])
def test_other_kernels_of_one_channel_are_read_whole(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    check(conv2d, nn.Conv2d(3, 3, shape, groups=3), (torch.randn(2, 3, 9, 8),))


def any_conv2d(data: st.DataObject, kind: Any) -> tuple[Any, Tensor]:
    draw = data.draw
    groups, depthwise = draw(SMALL), draw(st.booleans())
    each, out = (1, 1) if depthwise else (draw(SMALL), draw(SMALL))
    padding: Any = draw(st.one_of(st.sampled_from(["same", "valid"]), PAIR, st.just((0, 0))))
    mode: Any = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    torch.manual_seed(draw(SEEDS))
    layer = kind(
        groups * each,
        groups * out,
        draw(PAIR),
        stride=1 if padding == "same" else draw(PAIR),
        padding=padding,
        dilation=draw(PAIR),
        groups=groups,
        padding_mode=mode,
        bias=draw(st.booleans()),
    )
    images = torch.randn(draw(SMALL), groups * each, draw(st.integers(4, 8)), draw(st.integers(4, 8)))
    if draw(st.booleans()):
        images = images.contiguous(memory_format=torch.channels_last)
    return layer, images


@given(data=st.data())
@FEW
def test_conv2d_same(data: st.DataObject) -> None:
    draw, groups = data.draw, data.draw(SMALL)
    torch.manual_seed(draw(SEEDS))
    layer = Conv2dSame(
        groups * 2,
        groups * 3,
        draw(PAIR),
        stride=draw(PAIR),
        dilation=draw(PAIR),
        groups=groups,
        bias=draw(st.booleans()),
    )
    images = torch.randn(2, groups * 2, draw(st.integers(4, 8)), draw(st.integers(4, 8)))
    check(conv2d_same, layer, (images,))


@pytest.mark.parametrize("kind", [StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame])
@given(data=st.data())
@FEW
def test_standardised_conv(kind: Any, data: st.DataObject) -> None:
    draw, groups = data.draw, data.draw(SMALL)
    torch.manual_seed(draw(SEEDS))
    padding = "same" if kind in (StdConv2dSame, ScaledStdConv2dSame) else draw(st.sampled_from([None, 0, 1]))
    layer = kind(
        groups * 2,
        groups * 2,
        draw(st.integers(2, 3)),
        stride=draw(SMALL),
        dilation=draw(st.integers(1, 2)),
        padding=padding,
        groups=groups,
        bias=draw(st.booleans()),
    )
    if hasattr(layer, "gain"):
        layer.gain.data.normal_()
    else:
        # Rows whose length without a gain leaves room for an edit that lengthens them.
        layer.weight.data.mul_(0.001)
    images = torch.randn(2, groups * 2, 7, 6)
    try_it(layer, images)
    check(std_conv, layer, (images,))


@given(data=st.data())
@FEW
def test_cond_conv(data: st.DataObject) -> None:
    draw, groups = data.draw, data.draw(SMALL)
    torch.manual_seed(draw(SEEDS))
    padding: Any = draw(st.sampled_from(["same", "", 1]))
    layer = CondConv2d(
        groups * 2,
        groups * 2,
        draw(SMALL),
        stride=draw(SMALL),
        padding=padding,
        groups=groups,
        num_experts=draw(SMALL),
    )
    images, routing = torch.randn(2, groups * 2, 6, 7), torch.rand(2, layer.num_experts)
    try_it(layer, images, routing)
    check(cond_conv, layer, (images, routing))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(data=st.data())
@FEW
def test_conv1d(data: st.DataObject) -> None:
    draw, groups = data.draw, data.draw(SMALL)
    padding: Any = draw(st.sampled_from(["same", "valid", 0, 2]))
    torch.manual_seed(draw(SEEDS))
    layer = nn.Conv1d(
        groups * draw(SMALL),
        groups * draw(SMALL),
        draw(SMALL),
        stride=1 if padding == "same" else draw(SMALL),
        padding=padding,
        dilation=draw(SMALL),
        groups=groups,
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    )
    signal = torch.randn(2, layer.in_channels, draw(st.integers(4, 9)))
    try_it(layer, signal)
    check(conv1d, layer, (signal,))


@given(data=st.data())
@FEW
def test_conv3d(data: st.DataObject) -> None:
    draw, groups = data.draw, data.draw(st.integers(1, 2))
    three = st.tuples(SMALL, SMALL, SMALL)
    torch.manual_seed(draw(SEEDS))
    layer = nn.Conv3d(
        groups * 2, groups, draw(three), stride=draw(three), padding=draw(three), dilation=draw(three), groups=groups
    )
    volume = torch.randn(2, groups * 2, 4, 5, 3)
    try_it(layer, volume)
    check(conv3d, layer, (volume,))


@given(data=st.data())
@FEW
def test_conv_transpose(data: st.DataObject) -> None:
    draw, groups = data.draw, data.draw(SMALL)
    stride = draw(st.integers(1, 3))
    torch.manual_seed(draw(SEEDS))
    layer = nn.ConvTranspose2d(
        groups * draw(SMALL),
        groups * draw(SMALL),
        draw(st.integers(2, 3)),
        stride=stride,
        padding=draw(st.integers(0, 1)),
        output_padding=stride - 1,
        groups=groups,
        dilation=draw(st.integers(2, 3)) if stride == 3 else 1,
    )
    images = torch.randn(2, layer.in_channels, 3, 4)
    try_it(layer, images)
    check(conv_transpose2d, layer, (images,))


@pytest.mark.parametrize("call", ["self", "cross", "keywords", "unbatched", "other widths"])
@given(batch_first=st.booleans(), bias=st.booleans(), extra=st.booleans(), seed=SEEDS)
@FEW
def test_multihead_attention(*, call: str, batch_first: bool, bias: bool, extra: bool, seed: int) -> None:
    torch.manual_seed(seed)
    widths = {"kdim": 5, "vdim": 7} if call == "other widths" else {}
    layer = nn.MultiheadAttention(6, 2, bias=bias, add_bias_kv=extra, batch_first=batch_first, **widths)
    shape = (3, 4) if batch_first else (4, 3)
    longer = (3, 5) if batch_first else (5, 3)
    query = torch.randn(*shape, 6)
    key = query if call == "self" else torch.randn(*longer, widths.get("kdim", 6))
    value = key if call == "self" else torch.randn(*longer, widths.get("vdim", 6))
    if call == "unbatched":
        query, key, value = query[0], key[0], value[0]
    if call == "keywords":
        check(multihead, layer, (query,), {"key": key, "value": value, "need_weights": False})
    else:
        check(multihead, layer, (query, key, value))


@pytest.mark.parametrize("batch_first", [True, False])
def test_masks_of_multihead_attention_are_heeded(*, batch_first: bool) -> None:
    layer = nn.MultiheadAttention(6, 2, batch_first=batch_first).eval()
    tokens = torch.randn(4, 4, 6)
    mask = torch.ones(4, 4, dtype=torch.bool).triu(1)
    network = Network.of(OneLayer(layer, (tokens, tokens, tokens), {"attn_mask": mask}), HANDLERS)
    found = read_moments(network)
    identity = nn.MultiheadAttention(6, 2, batch_first=batch_first)
    identity.load_state_dict(layer.state_dict() | {"out_proj.weight": torch.eye(6), "out_proj.bias": torch.zeros(6)})
    with torch.no_grad():
        rows = identity(tokens, tokens, tokens, attn_mask=mask)[0].flatten(0, 1)
    expected = (rows.T @ rows / rows.square().sum()).double()
    torch.testing.assert_close(found["layer.out_proj.weight"][0], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize(
    "build",
    [
        lambda separate: BeitAttention(8, 2, qkv_bias=True, qkv_bias_separate=separate),
        lambda separate: EvaAttention(8, 2, qkv_bias_separate=separate, scale_norm=False),
        lambda separate: SwinV2Attention(8, (2, 2), 2, qkv_bias=True, qkv_bias_separate=separate),
        lambda separate: EvaAttention(8, 2, qkv_bias=separate, scale_norm=False),
    ],
    ids=["beit", "eva", "swinv2", "eva without bias"],
)
def test_attention_that_does_not_call_its_qkv_layer(*, build: Callable[[bool], nn.Module], separate: bool) -> None:
    torch.manual_seed(1)
    layer = build(separate)
    tokens = torch.randn(3, 4, 8)
    network = Network.of(OneLayer(layer.eval(), (tokens,)), HANDLERS).observed(IMAGES)
    assert {"layer.qkv.weight", "layer.proj.weight"} == {m.key for m in network.maps}
    check(only_through_qkv, layer, (tokens,))


@pytest.mark.parametrize("kind", [ShiftedWindowAttention, ShiftedWindowAttentionV2])
@given(data=st.data(), bias=st.booleans(), seed=SEEDS)
@FEW
def test_shifted_window_attention(*, kind: Any, data: st.DataObject, bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    # Feature maps that the windows fit and do not fit, and some smaller than a window, which is not shifted then.
    window = [data.draw(st.integers(2, 3)) for _ in range(2)]
    shift = data.draw(st.sampled_from([[0, 0], [side // 2 for side in window]]))
    layer = kind(4, window, shift, num_heads=2, qkv_bias=bias, proj_bias=bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    check(shifted_window, layer, (torch.randn(2, data.draw(st.integers(2, 5)), data.draw(st.integers(2, 5)), 4),))


@given(heads=st.integers(1, 2), seed=SEEDS)
@FEW
def test_additive_attention(heads: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = EfficientAdditiveAttention(6, 4, heads)
    check(additive_attention, layer, (torch.randn(2, 6, 3, 2),))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@given(layers=st.integers(1, 2), both=st.booleans(), batch_first=st.booleans(), bias=st.booleans(), seed=SEEDS)
@FEW
def test_recurrent(*, kind: Any, layers: int, both: bool, batch_first: bool, bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layer = kind(4, 3, num_layers=layers, bidirectional=both, batch_first=batch_first, bias=bias)
    check(recurrent, layer, (torch.randn(2, 5, 4),))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("explicit", "build", "shape"),
    [
        (linear, lambda: nn.Linear(6, 4), (3, 5, 6)),
        (conv2d, lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 6, 5)),
        (conv1d, lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 6)),
        (conv2d_same, lambda: Conv2dSame(4, 6, 3, stride=2), (2, 4, 6, 5)),
        (std_conv, lambda: ScaledStdConv2d(4, 6, 3), (2, 4, 6, 5)),
        (conv_transpose2d, lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 3, 4)),
        (multihead, lambda: nn.MultiheadAttention(6, 2, batch_first=True), (2, 5, 6)),
        (recurrent, lambda: nn.GRU(4, 3, batch_first=True), (2, 5, 4)),
    ],
)
def test_a_network_in_another_precision_is_read(
    explicit: Explicit, build: Callable[[], nn.Module], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    torch.manual_seed(4)
    layer, features = build().to(dtype).eval(), torch.randn(shape).to(dtype)
    args = (features,) * 3 if isinstance(layer, nn.MultiheadAttention) else (features,)
    network = Network.of(OneLayer(layer, args), HANDLERS)
    found = read_moments(network)
    rows_of = explicit_rows(explicit, layer.double(), tuple(arg.double() for arg in args))
    assert rows_of.keys() == found.keys()
    for key, rows in rows_of.items():
        # What the layer computes on the way to a product, attention or states, it rounds in its own precision.
        torch.testing.assert_close(
            found[key][0], rows.T @ rows / rows.square().sum(), rtol=0, atol=2e-6 + torch.finfo(dtype).eps
        )


class Delegating:
    """Does what the handler for linear layers does."""

    module_type = nn.Linear
    right = HANDLERS[nn.Linear]

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        return self.right.linear_maps(name, module)

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        return self.right.input_rows(maps, module, inputs, sampler)


class ShiftedRows(Delegating):
    """Reads other rows than the layer multiplies."""

    def input_rows(self, *args: Any) -> Mapping[str, Tensor]:
        return {key: rows + 1 for key, rows in super().input_rows(*args).items()}


class HalfTheRows(Delegating):
    """Leaves rows out."""

    def input_rows(self, *args: Any) -> Mapping[str, Tensor]:
        return {key: rows[::2] for key, rows in super().input_rows(*args).items()}


class OnlyFirstOutput(Delegating):
    """Claims a part of the weight as if it were all."""

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        return [replace(m, stop=1) for m in super().linear_maps(name, module)]


class Nothing(Delegating):
    """Claims no map."""

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        return ()


@pytest.mark.parametrize("handler", [ShiftedRows, HalfTheRows, OnlyFirstOutput, Nothing])
def test_the_contract_finds_a_handler_that_is_wrong(handler: type[Delegating]) -> None:
    torch.manual_seed(2)
    layer, features = nn.Linear(4, 3), torch.randn(6, 4)
    with pytest.raises(AssertionError):
        check_layer(linear, layer, (features,), handlers={nn.Linear: handler()})


def test_the_contract_finds_a_layer_that_is_written_out_wrongly() -> None:
    layer, features = nn.Linear(4, 3), torch.randn(6, 4)
    with pytest.raises(AssertionError):
        check(lambda layer, args, through: through("weight", args[0]) @ layer.weight.T, layer, (features,))
