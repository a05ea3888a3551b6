"""Layer handler for timm's conditionally parametrised convolutions, which mix several kernels for each image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timm.layers.cond_conv2d import CondConv2d
from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import LayerHandler, RowSampler, hookimpl

from .channel_groups import group_maps
from .conv import Conv2dHandler
from .known_forward import require_known_forward
from .same_padding import same_padded


@dataclass(frozen=True)
class ExpertsForm:
    """Experts (e, out * i), each a flattened kernel, as rows (groups * e * out / groups, i)."""

    weight: str
    groups: int
    width: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """The experts."""
        return (self.weight,)

    def matrix(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return the kernels of all experts below each other, group by group, float32."""
        experts = state[self.weight].float()
        kernels = experts.reshape(len(experts), self.groups, -1, self.width)
        return kernels.transpose(0, 1).reshape(-1, self.width)

    def held(self, matrix: Tensor, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the experts."""
        experts = len(state[self.weight])
        kernels = matrix.reshape(self.groups, experts, -1, self.width)
        return {self.weight: kernels.transpose(0, 1).reshape(experts, -1)}


class CondConv2dHandler(Conv2dHandler):
    """``timm.layers.CondConv2d``: the kernels of all experts are one map, since all read the same patches.

    An image's kernel is a mixture of the experts; taking a direction away from each takes it away from every mixture.
    """

    module_type = CondConv2d

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return one map for each group of channels, over all experts."""
        conv = _cond_conv(module)
        key = f"{name}.weight"
        form = ExpertsForm(
            key, conv.groups, conv.in_channels // conv.groups * conv.kernel_size[0] * conv.kernel_size[1]
        )
        rows = conv.num_experts * conv.out_channels // conv.groups
        return group_maps(key, conv.groups, rows, form.width, form)

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        """Return patches (n * p, channels / groups * kernel area) for each group."""
        conv = _cond_conv(module)
        images: Tensor = inputs[0]
        if conv.dynamic_padding:
            images = same_padded(images, conv)
        # Weightless, and only its geometry is asked for.
        plain = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            groups=conv.groups,
            device="meta",
        )
        return super().input_rows(maps, plain, (images,), sampler)


def _cond_conv(module: nn.Module) -> Any:
    assert isinstance(module, CondConv2d)
    require_known_forward(module, CondConv2d)
    return module


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer the handler for ``CondConv2d``."""
    return (CondConv2dHandler(),)
