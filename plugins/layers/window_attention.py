"""Layer handlers for torchvision's Swin attention, which passes the weights of its two layers to a function."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn
from torchvision.models.swin_transformer import ShiftedWindowAttention, ShiftedWindowAttentionV2

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import LayerHandler, RowSampler, hookimpl

from .known_forward import require_known_forward
from .output_projection import without_projection
from .token_rows import token_rows


class ShiftedWindowAttentionHandler:
    """Swin and Swin V2 of torchvision: the packed queries, keys and values, and the output projection.

    The rows are the tokens of the feature map (n, h, w, i). The zeros that pad it to whole windows span nothing and
    are cut off again.

    Args:
        module_type: One of torchvision's two classes.
    """

    def __init__(self, module_type: type[nn.Module]) -> None:
        self.module_type = module_type

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return two maps."""
        require_known_forward(module, self.module_type)
        maps = []
        for part in ("qkv", "proj"):
            key, shape = f"{name}.{part}.weight", cast(Tensor, module.get_submodule(part).weight).shape
            maps.append(LinearMap(key, key, start=0, stop=shape[0], width=shape[1]))
        return maps

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        """Return the sampled tokens (n * p, i), and what each gathers from the values of its window."""
        (features,) = inputs
        gathered = without_projection(module, "proj").forward(features)
        qkv, proj = (m.key for m in maps)
        return {qkv: token_rows(features, qkv, sampler), proj: token_rows(gathered, proj, sampler)}


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer a handler for each of the two."""
    return [ShiftedWindowAttentionHandler(kind) for kind in (ShiftedWindowAttention, ShiftedWindowAttentionV2)]
