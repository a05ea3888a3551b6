"""Layer handler for two-dimensional convolutions, with stride, padding, dilation and groups."""

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F  # noqa: N812 - torch's customary name
from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import LayerHandler, RowSampler, hookimpl

from .channel_groups import group_rows, kernel_maps
from .known_forward import require_known_forward


class Conv2dHandler:
    """``nn.Conv2d``: one map for each group; an input row is one unfolded patch.

    Only the sampled patches are gathered; the unfolded feature map, kernel-area times its size, is
    never formed. Padding is the layer's own, so a patch holds false zeros nowhere.
    """

    module_type: type[nn.Module] = nn.Conv2d

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return one map for each group of channels."""
        require_known_forward(module, self.module_type)
        return kernel_maps(name, module)

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        """Return patches (n * p, channels / groups * kernel area) for each group."""
        conv = _conv(module)
        images = inputs[0] if inputs[0].ndim == 4 else inputs[0].unsqueeze(0)
        count, channels, height, width = images.shape
        pixels, corners, offsets = self._patches(conv, height, width)
        positions = sampler.positions(maps[0].parameter, count, len(corners))
        corners = corners.expand(count, -1) if positions is None else corners[positions]
        index = pixels[corners.unsqueeze(-1) + offsets].flatten(1).to(images.device)
        # All channels of a pixel at once: in a map that lies channels last they are neighbours.
        flat = images.permute(0, 2, 3, 1).flatten(1, 2)
        patches = flat[torch.arange(count, device=images.device).unsqueeze(1), index.clamp_min(0)]
        patches[index < 0] = 0.0
        # (n, p * kernel, channels) -> (groups, n * p, channels / groups * kernel)
        patches = patches.view(count, -1, len(offsets), conv.groups, channels // conv.groups)
        grouped = patches.permute(3, 0, 1, 4, 2).flatten(3).flatten(1, 2)
        return group_rows(maps, grouped)

    def _patches(self, conv: nn.Conv2d, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return where patches lie in a padded image: the number of each of its pixels, or -1; corners; offsets."""
        known = _PATCHES.setdefault(conv, {})
        if (height, width) not in known:
            # Numbers, padded as the images are: however many channels those have, to pad one map is enough.
            numbers = torch.arange(1, height * width + 1, dtype=torch.float64).view(1, 1, height, width)
            pixels = self._padded(numbers, conv)[0, 0].long() - 1
            known[height, width] = (pixels.flatten(), *_patch_indices(conv, *pixels.shape))
        return known[height, width]

    @staticmethod
    def _padded(images: Tensor, conv: nn.Conv2d) -> Tensor:
        """Pad (n, c, h, w) exactly as the layer's forward pass does."""
        # torch keeps (left, right, top, bottom) for string and non-zero padding modes in this attribute.
        amounts: list[int] = conv._reversed_padding_repeated_twice  # noqa: SLF001 - public nowhere
        if not any(amounts):
            return images
        mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        return F.pad(images, amounts, mode=mode)


_PATCHES: WeakKeyDictionary[nn.Conv2d, dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]]] = WeakKeyDictionary()
"""Where the patches of a layer lie, for images of each height and width: many classes ask for it in turn."""


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


def _patch_indices(conv: nn.Conv2d, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return flat indices of every patch's first pixel (positions,), and offsets within a patch (kernel area,)."""
    rows = torch.arange(0, height - conv.dilation[0] * (conv.kernel_size[0] - 1), conv.stride[0])
    columns = torch.arange(0, width - conv.dilation[1] * (conv.kernel_size[1] - 1), conv.stride[1])
    down = torch.arange(conv.kernel_size[0]) * conv.dilation[0]
    across = torch.arange(conv.kernel_size[1]) * conv.dilation[1]
    corners = (rows.unsqueeze(1) * width + columns).flatten()
    offsets = (down.unsqueeze(1) * width + across).flatten()
    return corners, offsets


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer the handler for ``nn.Conv2d`` and its subclasses."""
    return (Conv2dHandler(),)
