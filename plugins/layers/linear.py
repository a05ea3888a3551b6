"""Layer handler for fully connected layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from timm.layers.linear import Linear as TimmLinear
from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import LayerHandler, RowSampler, hookimpl

from .known_forward import require_known_forward
from .token_rows import token_rows

PLAIN = nn.Linear, TimmLinear
"""Classes whose forward only multiplies by the weight and adds the bias."""


class LinearHandler:
    """``nn.Linear``: one map; the input rows are the feature vectors, or the tokens of a sequence."""

    module_type: type[nn.Module] = nn.Linear

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return the layer's single map."""
        assert isinstance(module, nn.Linear)
        require_known_forward(module, *PLAIN)
        key = f"{name}.weight"
        return (LinearMap(key, key, start=0, stop=module.out_features, width=module.in_features),)

    def input_rows(
        self,
        maps: Sequence[LinearMap],
        module: nn.Module,  # noqa: ARG002 - part of the contract
        inputs: tuple[Any, ...],
        sampler: RowSampler,
    ) -> Mapping[str, Tensor]:
        """Return feature vectors (n, i); of a sequence (n, tokens, i), the sampled tokens."""
        return {maps[0].key: token_rows(inputs[0], maps[0].key, sampler)}


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer the handler for ``nn.Linear`` and its subclasses."""
    return (LinearHandler(),)
