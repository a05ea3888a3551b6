"""Layer handler for ``nn.MultiheadAttention``: queries, keys, values, and the output projection."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import LayerHandler, RowSampler, hookimpl

from .known_forward import require_known_forward
from .output_projection import without_projection
from .token_rows import token_rows

PACKED = ("q", "k", "v")


class MultiheadAttentionHandler:
    """``nn.MultiheadAttention``: one map each for queries, keys, values and the output.

    Queries, keys and values may come from different sequences, so each has a map of its own even where one parameter
    packs their weights; in self-attention the three read the same rows. The input rows of the output projection are
    computed by the layer's own forward with the identity in place of the projection.
    """

    module_type = nn.MultiheadAttention

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return four maps, whether the first three are packed in one parameter or not."""
        attention = _attention(module)
        size = attention.embed_dim
        widths = (size, attention.kdim, attention.vdim)
        if attention.in_proj_weight is not None:
            packed = f"{name}.in_proj_weight"
            maps = [
                LinearMap(f"{packed}[{part}]", packed, start=i * size, stop=(i + 1) * size, width=size)
                for i, part in enumerate(PACKED)
            ]
        else:
            keys = [f"{name}.{part}_proj_weight" for part in PACKED]
            maps = [
                LinearMap(key, key, start=0, stop=size, width=width) for key, width in zip(keys, widths, strict=True)
            ]
        out = f"{name}.out_proj.weight"
        return (*maps, LinearMap(out, out, start=0, stop=size, width=size))

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        """Return the sampled tokens (n * p, i) of each sequence, and what each query gathers from the values."""
        attention = _attention(module)
        sequences = inputs[:3]
        rows: dict[str, Tensor] = {}
        for i, (linear_map, sequence) in enumerate(zip(maps[:3], sequences, strict=True)):
            same = next((j for j in range(i) if sequences[j] is sequence), None)
            if same is not None:
                rows[linear_map.key] = rows[maps[same].key]
            else:
                rows[linear_map.key] = token_rows(_by_image(sequence, attention), linear_map.key, sampler)
        gathered = _by_image(_gathered(attention, inputs), attention)
        return {**rows, maps[3].key: token_rows(gathered, maps[3].key, sampler)}


def _attention(module: nn.Module) -> nn.MultiheadAttention:
    assert isinstance(module, nn.MultiheadAttention)
    require_known_forward(module, nn.MultiheadAttention)
    return module


def _by_image(sequence: Tensor, attention: nn.MultiheadAttention) -> Tensor:
    """Return a batch of sequences (n, tokens, i), whatever layout the layer wants."""
    if sequence.ndim == 2:
        return sequence.unsqueeze(0)
    return sequence if attention.batch_first else sequence.transpose(0, 1)


def _gathered(attention: nn.MultiheadAttention, inputs: tuple[Any, ...]) -> Tensor:
    """Return the layer's output with the identity in place of its output projection, in the layer's layout."""
    query, key, value, padding, _, mask, average, causal = inputs
    answer: Tensor = without_projection(attention, "out_proj").forward(
        query,
        key,
        value,
        key_padding_mask=padding,
        need_weights=False,
        attn_mask=mask,
        average_attn_weights=average,
        is_causal=causal,
    )[0]
    return answer


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer the handler for ``nn.MultiheadAttention``."""
    return (MultiheadAttentionHandler(),)
