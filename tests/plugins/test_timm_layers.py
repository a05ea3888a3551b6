"""timm's building blocks, one by one: nothing in them that multiplies features goes unnoticed or unread."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.layers.attention2d import MultiQueryAttention2d, MultiQueryAttentionV2
from timm.layers.attention_pool import AttentionPoolLatent
from timm.layers.attention_pool2d import AttentionPool2d, RotAttentionPool2d
from timm.layers.blur_pool import BlurPool2d
from timm.layers.bottleneck_attn import BottleneckAttn
from timm.layers.cbam import CbamModule
from timm.layers.coord_attn import CoordAttn
from timm.layers.eca import CecaModule, EcaModule
from timm.layers.global_context import GlobalContext
from timm.layers.grn import GlobalResponseNorm
from timm.layers.halo_attn import HaloAttn
from timm.layers.lambda_layer import LambdaLayer
from timm.layers.layer_scale import LayerScale2d
from timm.layers.mixed_conv2d import MixedConv2d
from timm.layers.non_local_attn import NonLocalAttn
from timm.layers.norm import RmsNorm2d
from timm.layers.selective_kernel import SelectiveKernel
from timm.layers.split_attn import SplitAttn
from timm.layers.squeeze_excite import SEModule
from timm.models.levit import ConvNorm
from torch import nn

from ledger.networks.coverage import Treatment
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins

HANDLERS = build_plugins().layer_handlers()
IMAGES = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))


NO_RADIUS: Any = None
non_local: Any = NonLocalAttn


def fused(module: Any) -> Any:
    return module.fuse()


def unhandled(module: Any) -> dict[str, str]:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.01)
    covered = Network.of(module, HANDLERS).observed(IMAGES).coverage
    return {c.name: c.detail for c in covered if c.treatment is Treatment.UNHANDLED}


@pytest.mark.parametrize(
    "build",
    [
        lambda: MixedConv2d(16, 16, [3, 5], depthwise=True, padding="same", stride=2),
        lambda: nn.Sequential(BlurPool2d(16), nn.Conv2d(16, 4, 1)),
        lambda: fused(ConvNorm(16, 8)),
        lambda: EcaModule(16),
        lambda: CecaModule(16),
        lambda: SEModule(16),
        lambda: SelectiveKernel(16, 16, split_input=False),
        lambda: SplitAttn(16, 16, 3, padding=1),
        lambda: GlobalContext(16),
        lambda: CbamModule(16),
        lambda: CoordAttn(16),
        lambda: non_local(16),
        lambda: BottleneckAttn(16, feat_size=(8, 8), dim_head=8, num_heads=2),
        lambda: HaloAttn(16, dim_head=8, num_heads=2, block_size=4, halo_size=2),
        lambda: LambdaLayer(16, dim_head=8, r=3),
        lambda: LambdaLayer(16, feat_size=(8, 8), dim_head=8, r=NO_RADIUS),
        lambda: MultiQueryAttention2d(16, num_heads=2),
        lambda: AttentionPool2d(16, feat_size=8, num_heads=2, head_dim=8),
        lambda: RotAttentionPool2d(16, ref_feat_size=8, num_heads=2, head_dim=8),
        lambda: nn.Sequential(nn.Flatten(2), nn.Linear(64, 16), AttentionPoolLatent(16, num_heads=2)),
        lambda: nn.Sequential(LayerScale2d(16), RmsNorm2d(16), nn.Conv2d(16, 4, 1)),
        lambda: nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (8, 8)), nn.Conv2d(16, 4, 1)),
    ],
)
def test_a_block_is_covered(build: Callable[[], nn.Module]) -> None:
    assert unhandled(build()) == {}


@pytest.mark.parametrize(
    ("build", "weights"),
    [
        (lambda: MultiQueryAttentionV2(16, num_heads=2), {"query_proj", "key_proj", "value_proj", "out_proj"}),
    ],
)
def test_a_block_of_bare_parameters_says_so(build: Callable[[], nn.Module], weights: set[str]) -> None:
    found = unhandled(build())
    assert {name.rpartition(".")[2] for name in found} == weights
    assert all("no handler for" in detail for detail in found.values())


def test_global_response_normalisation_is_a_scale() -> None:
    covered = (
        Network.of(nn.Sequential(GlobalResponseNorm(16, channels_last=False), nn.Conv2d(16, 2, 1)), HANDLERS)
        .observed(IMAGES)
        .coverage
    )
    assert {c.name: c.treatment for c in covered}["0.weight"] is Treatment.UNTOUCHED
