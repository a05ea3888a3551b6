"""Layer handlers for timm's weight-standardised convolutions. What an edit of them means: docs/adr/0010."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.layers.std_conv import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import GroupedRows, LayerHandler, RowSampler, hookimpl

from .conv import Conv2dHandler
from .same_padding import same_padded

LARGEST_VARIANCE = 1 - 1e-7
"""Largest variance of a standardised row without a gain; one would need an infinitely large raw weight."""


@dataclass(frozen=True)
class StandardisedForm:
    """A matrix whose rows are the raw rows, centred, divided by their standard deviation, and times a gain if any."""

    weight: str
    gain: str | None
    scale: float
    eps: float

    @property
    def parameters(self) -> tuple[str, ...]:
        """The raw weight, and the gain."""
        return (self.weight,) if self.gain is None else (self.weight, self.gain)

    def matrix(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return what the layer multiplies patches by, float32 (o, i): rows without a mean."""
        raw = _centred(state[self.weight].double().flatten(1))
        rows = raw / (_variance(raw) + self.eps).sqrt()
        if self.gain is not None:
            rows = rows * self.scale * state[self.gain].double().view(-1, 1)
        return rows.float()

    def held(self, matrix: Tensor, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the raw weight, and the gain, that give a matrix (o, i) without row means.

        With a gain, any length is possible: the raw rows keep their variance, and the gain is set accordingly. Without
        one, the length of a standardised row depends on the size of the raw row relative to ``eps``, and is below one.
        """
        wanted = _centred(matrix.double())
        variance = _variance(wanted)
        if self.gain is None:
            within = variance.clamp_max(LARGEST_VARIANCE)
            shortened = (within / variance).where(variance > 0, torch.zeros_like(variance)).sqrt()
            return {self.weight: wanted * shortened * (self.eps / (1 - within)).sqrt()}
        before = _variance(_centred(state[self.weight].double().flatten(1)))
        factor = (before / variance).where(variance > 0, torch.zeros_like(variance)).sqrt()
        gain = (before + self.eps).sqrt() / (self.scale * factor)
        unchanged = state[self.gain].double().view(-1, 1)
        return {self.weight: wanted * factor, self.gain: torch.where(factor > 0, gain, unchanged)}


class StandardisedConvHandler(Conv2dHandler):
    """``StdConv2d``, ``ScaledStdConv2d`` and their ``Same`` variants.

    A standardised row has no mean, so the mean of a patch never reaches the output: rows are patches without it. Both
    spaces then lie where standardised rows do, and so does every edited row.

    Args:
        module_type: One of timm's four classes.
    """

    def __init__(self, module_type: type[nn.Conv2d]) -> None:
        self.module_type = module_type

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return one map for each group of channels, held in standardised form."""
        gain = f"{name}.gain" if isinstance(module, ScaledStdConv2d | ScaledStdConv2dSame) else None
        form = StandardisedForm(f"{name}.weight", gain, float(getattr(module, "scale", 1.0)), float(module.eps))  # type: ignore[arg-type]
        return tuple(replace(m, form=form) for m in super().linear_maps(name, module))

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        """Return patches without their means, for each group."""
        patches = super().input_rows(maps, module, inputs, sampler)
        if isinstance(patches, GroupedRows):
            return GroupedRows(maps, _centred(patches.stacked))
        return {key: _centred(rows) for key, rows in patches.items()}

    @staticmethod
    def _padded(images: Tensor, conv: nn.Conv2d) -> Tensor:
        if getattr(conv, "same_pad", False):
            images = same_padded(images, conv)
        return Conv2dHandler._padded(images, conv)  # noqa: SLF001 - its own parent


def _centred(rows: Tensor) -> Tensor:
    return rows - rows.mean(-1, keepdim=True)


def _variance(centred: Tensor) -> Tensor:
    return centred.square().mean(-1, keepdim=True)


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer a handler for each of the four."""
    kinds = (StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)
    return tuple(StandardisedConvHandler(kind) for kind in kinds)
