"""Layer handler for SwiftFormer's additive attention, which scores queries by a parameter without a layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F  # noqa: N812 - torch's customary name
from timm.models.swiftformer import EfficientAdditiveAttention
from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import LayerHandler, RowSampler, hookimpl

from .known_forward import require_known_forward
from .token_rows import token_rows


@dataclass(frozen=True)
class ColumnForm:
    """A matrix held transposed: (i, o) in the state dict."""

    weight: str

    @property
    def parameters(self) -> tuple[str, ...]:
        """The one parameter."""
        return (self.weight,)

    def matrix(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return the matrix, float32 (o, i)."""
        return state[self.weight].float().T

    def held(self, matrix: Tensor, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:  # noqa: ARG002 - part of the contract
        """Return the transposed matrix."""
        return {self.weight: matrix.T}


class AdditiveAttentionHandler:
    """timm's ``EfficientAdditiveAttention``: the normalised queries flow into ``w_g``; all else are ordinary layers."""

    module_type = EfficientAdditiveAttention

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return the map of the scores, one output wide."""
        assert isinstance(module, EfficientAdditiveAttention)
        require_known_forward(module, EfficientAdditiveAttention)
        key = f"{name}.w_g"
        return (LinearMap(key, key, start=0, stop=1, width=len(module.w_g), form=ColumnForm(key)),)

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        """Return the sampled positions' normalised queries (n * p, i)."""
        assert isinstance(module, EfficientAdditiveAttention)
        tokens = inputs[0].flatten(2).transpose(1, 2)
        # By the function, since a call of the layer would be hooked and read as another use.
        queries = F.normalize(F.linear(tokens, module.to_query.weight, module.to_query.bias), dim=-1)
        return {maps[0].key: token_rows(queries, maps[0].key, sampler)}


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer the handler for ``EfficientAdditiveAttention``."""
    return (AdditiveAttentionHandler(),)
