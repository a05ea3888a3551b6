"""Layer handler for recurrent layers: their inputs, and their state from step to step."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.errors import UnsupportedLayerError
from ledger.hookspecs import LayerHandler, RowSampler, hookimpl

from .known_forward import require_known_forward
from .token_rows import token_rows

KNOWN = nn.LSTM, nn.GRU, nn.RNN


class RecurrentHandler:
    """``nn.LSTM``, ``nn.GRU`` and ``nn.RNN``: two maps for each layer and direction.

    One reads the sequence, the other the state before each step. States are computed by running the layers one by one.
    """

    module_type = nn.RNNBase

    def linear_maps(self, name: str, module: nn.Module) -> Sequence[LinearMap]:
        """Return the input and the state map of each layer and direction."""
        recurrent = _recurrent(module)
        maps = []
        for _, suffix in _passes(recurrent):
            for part in ("ih", "hh"):
                key = f"weight_{part}{suffix}"
                rows, width = getattr(recurrent, key).shape
                maps.append(LinearMap(f"{name}.{key}", f"{name}.{key}", start=0, stop=rows, width=width))
        return maps

    def input_rows(
        self, maps: Sequence[LinearMap], module: nn.Module, inputs: tuple[Any, ...], sampler: RowSampler
    ) -> Mapping[str, Tensor]:
        """Return the sampled steps' inputs and states (n * p, i)."""
        recurrent = _recurrent(module)
        sequence, state = inputs
        if isinstance(sequence, nn.utils.rnn.PackedSequence):
            raise UnsupportedLayerError("packed sequences are not read", "pad them")
        if not recurrent.batch_first and sequence.ndim == 3:
            sequence = sequence.transpose(0, 1)
        elif sequence.ndim == 2:
            sequence = sequence.unsqueeze(0)
            state = None if state is None else _unsqueezed(state)
        rows, by_parameter = {}, {m.parameter.rpartition(".")[2]: m.key for m in maps}
        for layer, suffixes in _layers(recurrent):
            answers = []
            for direction, suffix in enumerate(suffixes):
                first = _first_state(recurrent, state, layer * len(suffixes) + direction, sequence)
                steps = sequence.flip(1) if direction else sequence
                hidden = _run(recurrent, steps, first, suffix)
                before = torch.cat([_hidden(first).transpose(0, 1), hidden[:, :-1]], dim=1)
                for part, values in (("ih", steps), ("hh", before)):
                    key = by_parameter[f"weight_{part}{suffix}"]
                    rows[key] = token_rows(values, key, sampler)
                answers.append(hidden.flip(1) if direction else hidden)
            sequence = torch.cat(answers, dim=2)
        return rows


def _recurrent(module: nn.Module) -> nn.RNNBase:
    assert isinstance(module, nn.RNNBase)
    require_known_forward(module, *KNOWN)
    if module.proj_size:
        raise UnsupportedLayerError("its states are projected, which no handler reads")
    return module


def _layers(recurrent: nn.RNNBase) -> Iterator[tuple[int, tuple[str, ...]]]:
    for layer in range(recurrent.num_layers):
        yield layer, (f"_l{layer}", f"_l{layer}_reverse") if recurrent.bidirectional else (f"_l{layer}",)


def _passes(recurrent: nn.RNNBase) -> Iterator[tuple[int, str]]:
    yield from ((layer, suffix) for layer, suffixes in _layers(recurrent) for suffix in suffixes)


def _unsqueezed(state: Any) -> Any:
    return tuple(s.unsqueeze(1) for s in state) if isinstance(state, tuple) else state.unsqueeze(1)


def _first_state(recurrent: nn.RNNBase, state: Any, index: int, sequence: Tensor) -> Any:
    """Return one layer's and direction's state before the first step, (1, n, h) or a pair of them."""
    if state is None:
        zeros = sequence.new_zeros(1, len(sequence), recurrent.hidden_size)
        return (zeros, zeros) if isinstance(recurrent, nn.LSTM) else zeros
    one = slice(index, index + 1)
    return tuple(s[one] for s in state) if isinstance(state, tuple) else state[one]


def _hidden(state: Any) -> Tensor:
    hidden: Tensor = state[0] if isinstance(state, tuple) else state
    return hidden


def _run(recurrent: nn.RNNBase, steps: Tensor, first: Any, suffix: str) -> Tensor:
    """Return the states (n, steps, h) of one layer in one direction, by torch's own kernels."""
    kernels = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}
    names = [f"{kind}_{part}{suffix}" for kind in ("weight", "bias") for part in ("ih", "hh")]
    weights = [getattr(recurrent, name) for name in names if hasattr(recurrent, name)]
    # cuDNN wants all weights of a module in one piece, and warns; these are some of them.
    with torch.backends.cudnn.flags(enabled=False):
        answer = kernels[recurrent.mode](steps, first, weights, recurrent.bias, 1, 0.0, False, False, True)  # type: ignore[operator]
    hidden: Tensor = answer[0]
    return hidden


@hookimpl
def unledger_layer_handlers() -> Sequence[LayerHandler]:
    """Offer the handler for the three classes."""
    return (RecurrentHandler(),)
