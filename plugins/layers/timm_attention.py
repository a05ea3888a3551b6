"""Layer handlers for timm's attention modules that use the weight of their ``qkv`` layer without calling it."""

from collections.abc import Sequence

from timm.models.beit import Attention as BeitAttention
from timm.models.eva import EvaAttention
from timm.models.swin_transformer_v2 import WindowAttention as SwinV2Attention
from torch import nn

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import LayerHandler, hookimpl

from .known_forward import require_known_forward
from .linear import LinearHandler


class FunctionalQkvHandler(LinearHandler):
    """BEiT, EVA and Swin V2: the keys have no bias, so the product is a function call and not a call of the layer.

    Only the packed queries, keys and values are read here, as a linear layer's tokens; the output projection is an
    ordinary layer. Where the module does call its ``qkv`` layer there is nothing to do: the handler for ``nn.Linear``
    reads it.

    Args:
        module_type: One of timm's classes.
    """

    def __init__(self, module_type: type[nn.Module]) -> None:
        self.module_type = module_type

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return the map of the packed queries, keys and values, or none."""
        qkv, called = getattr(module, "qkv", None), module.q_bias is None or module.qkv_bias_separate
        if called or not isinstance(qkv, nn.Linear):
            return ()
        require_known_forward(module, self.module_type)
        key = f"{name}.qkv.weight"
        return (LinearMap(key, key, start=0, stop=qkv.out_features, width=qkv.in_features),)


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer a handler for each of the three."""
    return tuple(FunctionalQkvHandler(kind) for kind in (BeitAttention, EvaAttention, SwinV2Attention))
