"""Layer handler for fully connected layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.errors import UnsupportedLayerError
from ledger.hookspecs import LayerHandler, RowSampler, hookimpl


class LinearHandler:
    """``nn.Linear``: one map; the input rows are the feature vectors, or the tokens of a sequence."""

    module_type = nn.Linear

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return the layer's single map."""
        assert isinstance(module, nn.Linear)
        if type(module).forward is not nn.Linear.forward:
            raise UnsupportedLayerError(f"{type(module).__name__} computes its output in its own way")
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
        features: Tensor = inputs[0]
        key = maps[0].key
        if features.ndim == 2:
            return {key: features}
        tokens = features.flatten(1, -2)
        positions = sampler.positions(key, tokens.shape[0], tokens.shape[1])
        if positions is not None:
            index = positions.to(tokens.device).unsqueeze(-1).expand(-1, -1, tokens.shape[2])
            tokens = tokens.gather(1, index)
        return {key: tokens.flatten(0, 1)}


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer the handler for ``nn.Linear`` and its subclasses."""
    return (LinearHandler(),)
