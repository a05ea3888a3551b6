"""See every call of every layer that is read, with the rows its handler finds in it."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ledger.hookspecs import RowSampler
from ledger.plugin_manager import guarded

from .dataflow import module_paths_only
from .network import Network, Reader

Fold = Callable[[str, Mapping[str, Tensor]], None]
"""Takes a layer's name, and rows by the keys of the maps they flow into."""


@contextmanager
def reading(network: Network, sampler: RowSampler, fold: Fold) -> Iterator[None]:
    """Pass the rows of every layer call to ``fold`` while the block runs the network.

    The network is left as it was, even on error: hooks come off, and modules that were training go on. While the block
    runs they evaluate, so that no statistics of batches change.

    Args:
        network: Its :attr:`~ledger.networks.network.Network.readers` are hooked; one called several times is read each
            time.
        sampler: Chooses positions.
        fold: Receives the rows.
    """
    calls: dict[str, int] = {}

    def hook_for(reader: Reader) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = calls[reader.name] = calls.get(reader.name, 0) + 1
            culprit = f"{type(reader.handler).__name__} on {reader.name}"
            chosen = sampler if call == 1 else _LaterCall(sampler, call)
            inputs = arguments(module, args, kwargs)
            rows = guarded(lambda: reader.handler.input_rows(reader.maps, module, inputs, chosen), culprit)
            guarded(lambda: fold(reader.name, _named(reader, rows)), culprit)

        return hook

    training = {part: part.training for part in network.module.modules()}
    hooks = [network.module.register_forward_pre_hook(lambda _m, _i: calls.clear(), prepend=True)]
    try:
        network.module.eval()
        hooks += [r.module.register_forward_pre_hook(hook_for(r), with_kwargs=True) for r in network.readers]
        with module_paths_only():
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for part, flag in training.items():
            part.training = flag


def _named(reader: Reader, rows: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return rows by the keys of the maps that are edited, which are usually the handler's own."""
    if all(key == own for key, own in reader.keys.items()):
        return rows
    return {reader.keys[key]: values for key, values in rows.items()}


def arguments(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a module was called with in the order of its forward's parameters, defaults filled in.

    What its forward takes by keyword only is left out.
    """
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
    # The call itself will fail, and say so better; or the signature is not Python's.
    except (TypeError, ValueError):
        return args
    bound.apply_defaults()
    return bound.args


class _LaterCall:
    """Draws other positions for the second call of a layer in one pass, and so on, each from a stream of its own."""

    def __init__(self, sampler: RowSampler, call: int) -> None:
        self._sampler = sampler
        self._call = call

    def positions(self, key: str, images: int, available: int) -> Tensor | None:
        """Return flat position indices (images, p), or None for all ``available`` positions."""
        return self._sampler.positions(f"{key}@{self._call}", images, available)
