"""Layer handler for three-dimensional convolutions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's customary name
from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import LayerHandler, RowSampler, hookimpl

from .channel_groups import group_rows, kernel_maps
from .known_forward import require_known_forward


class Conv3dHandler:
    """``nn.Conv3d``: one map for each group; an input row is one unfolded patch of a volume."""

    module_type = nn.Conv3d

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return one map for each group of channels."""
        require_known_forward(module, nn.Conv3d)
        return kernel_maps(name, module)

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        """Return patches (n * p, channels / groups * kernel volume) for each group."""
        conv = _conv(module)
        volumes = inputs[0] if inputs[0].ndim == 5 else inputs[0].unsqueeze(0)
        amounts: list[int] = conv._reversed_padding_repeated_twice  # noqa: SLF001 - as for two dimensions
        windows = F.pad(volumes, amounts, mode="constant" if conv.padding_mode == "zeros" else conv.padding_mode)
        for axis in range(3):
            reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
            windows = windows.unfold(2 + axis, reach, conv.stride[axis])[..., :: conv.dilation[axis]]
        # A view (n, channels, three positions, kernel): only the patches taken out of it are copied.
        count, shape = len(windows), windows.shape[2:5]
        positions = sampler.positions(maps[0].parameter, count, shape.numel())
        chosen = torch.arange(shape.numel()).expand(count, -1) if positions is None else positions
        planes = chosen // (shape[1] * shape[2]), chosen // shape[2] % shape[1], chosen % shape[2]
        image = torch.arange(count).unsqueeze(1).expand_as(chosen)
        where = [index.to(windows.device) for index in (image, *planes)]
        patches = windows.movedim(1, 4)[*where].flatten(0, 1)
        return group_rows(maps, patches.reshape(len(patches), conv.groups, -1).transpose(0, 1))


def _conv(module: nn.Module) -> nn.Conv3d:
    assert isinstance(module, nn.Conv3d)
    return module


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer the handler for ``nn.Conv3d`` and its subclasses."""
    return (Conv3dHandler(),)
