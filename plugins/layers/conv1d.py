"""Layer handler for one-dimensional convolutions: two-dimensional ones over images one pixel high."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import LayerHandler, RowSampler, hookimpl

from .conv import Conv2dHandler


class Conv1dHandler(Conv2dHandler):
    """``nn.Conv1d``, with every option that ``nn.Conv2d`` has: one map for each group."""

    module_type = nn.Conv1d

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        """Return patches (n * p, channels / groups * kernel size) for each group."""
        signal: Tensor = inputs[0]
        return super().input_rows(maps, _flat(module), (signal.unsqueeze(-2),), sampler)


def _flat(module: nn.Module) -> nn.Conv2d:
    """Return a convolution of the same geometry in two dimensions, without weights."""
    assert isinstance(module, nn.Conv1d)
    padding: Any = module.padding if isinstance(module.padding, str) else (0, *module.padding)
    return nn.Conv2d(
        module.in_channels,
        module.out_channels,
        (1, module.kernel_size[0]),
        stride=(1, module.stride[0]),
        padding=padding,
        dilation=(1, module.dilation[0]),
        groups=module.groups,
        padding_mode=module.padding_mode,
        device="meta",
    )


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer the handler for ``nn.Conv1d`` and its subclasses."""
    return (Conv1dHandler(),)
