"""Layer handler for transposed convolutions, of one to three dimensions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import LayerHandler, RowSampler, hookimpl

from .channel_groups import group_maps, group_rows
from .known_forward import require_known_forward
from .token_rows import token_rows

KNOWN = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d


@dataclass(frozen=True)
class TransposedForm:
    """A kernel (in, out / groups, ...) as the matrix from a pixel to the patch that it is spread over."""

    weight: str
    groups: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """The kernel."""
        return (self.weight,)

    def matrix(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return (out * kernel area, in / groups), group by group, float32."""
        kernel = state[self.weight].float()
        return kernel.reshape(self.groups, len(kernel) // self.groups, -1).transpose(1, 2).flatten(0, 1)

    def held(self, matrix: Tensor, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the kernel."""
        shape = state[self.weight].shape
        return {self.weight: matrix.reshape(self.groups, -1, matrix.shape[1]).transpose(1, 2).reshape(shape)}


class ConvTransposeHandler:
    """``nn.ConvTranspose1d`` to ``3d``: an input row is the channels of one pixel.

    The layer multiplies each pixel by the kernel and adds up the patches that come out where they overlap; stride,
    padding and dilation only say where, and so do not matter here.
    """

    module_type = nn.modules.conv._ConvTransposeNd  # noqa: SLF001 - the three classes have no other parent

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return one map for each group of channels."""
        conv = _conv(module)
        require_known_forward(conv, *KNOWN)
        key = f"{name}.weight"
        form = TransposedForm(key, conv.groups)
        rows, width = conv.weight[0].numel(), conv.in_channels // conv.groups
        return group_maps(key, conv.groups, rows, width, form)

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        """Return pixels (n * p, in / groups) for each group."""
        conv, images = _conv(module), inputs[0]
        if images.ndim == conv.weight.ndim - 1:
            images = images.unsqueeze(0)
        pixels = token_rows(images.flatten(2).transpose(1, 2), maps[0].parameter, sampler)
        return group_rows(maps, pixels.view(len(pixels), conv.groups, -1).transpose(0, 1))


def _conv(module: nn.Module) -> nn.ConvTranspose2d:
    assert isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    return module  # type: ignore[return-value]


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer the handler for the three classes."""
    return (ConvTransposeHandler(),)
