"""Hook the layers of a network, and pass on the input rows that their handlers find in each call."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import MethodType
from typing import Any

from torch import Tensor, nn

from ledger.hookspecs import RowSampler
from ledger.plugin_manager import guarded

from .dataflow import module_paths_only
from .layer_claims import HookedLayer
from .network import Network

Fold = Callable[[str, Mapping[str, Tensor]], None]
"""Takes a layer's name and input rows (n, i), by the keys of the maps they flow into."""


@contextmanager
def capture_rows(network: Network, sampler: RowSampler, fold: Fold) -> Iterator[None]:
    """Pass the rows of every layer call to ``fold`` while the block runs the network.

    While the block runs, all modules are in evaluation mode, so that batch statistics do not change. Afterwards the
    network is as it was, even on error: hooks come off, and modules that were in training mode are again.

    Args:
        network: Its :attr:`~ledger.networks.network.Network.hooked_layers` are hooked. A layer that is called several
            times is read each time.
        sampler: Chooses the positions that are read.
        fold: Called with each layer's name and its rows (n, i) by map key.
    """
    calls: dict[str, int] = {}

    def hook_for(layer: HookedLayer) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = calls[layer.name] = calls.get(layer.name, 0) + 1
            culprit = f"{type(layer.handler).__name__} on {layer.name}"
            chosen = sampler if call == 1 else _LaterCall(sampler, call)
            inputs = arguments(module, args, kwargs)
            rows = guarded(lambda: layer.handler.input_rows(layer.maps, module, inputs, chosen), culprit)
            guarded(lambda: fold(layer.name, _named(layer, rows)), culprit)

        return hook

    training = {part: part.training for part in network.module.modules()}
    hooks = [network.module.register_forward_pre_hook(lambda _m, _i: calls.clear(), prepend=True)]
    try:
        network.module.eval()
        hooks += [
            layer.module.register_forward_pre_hook(hook_for(layer), with_kwargs=True) for layer in network.hooked_layers
        ]
        with module_paths_only():
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for part, flag in training.items():
            part.training = flag


def _named(layer: HookedLayer, rows: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return rows by the keys of the maps that are edited, which are usually the handler's own."""
    if all(key == own for key, own in layer.keys.items()):
        return rows
    return {layer.keys[key]: values for key, values in rows.items()}


def arguments(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a module was called with in the order of its forward's parameters, defaults filled in.

    What its forward takes by keyword only is left out.
    """
    forward: Any = module.forward
    function, itself = (forward.__func__, (forward.__self__,)) if isinstance(forward, MethodType) else (forward, ())
    try:
        bound = _signature(function).bind(*itself, *args, **kwargs)
    # The call itself will fail, and say so better; or the signature is not Python's.
    except (TypeError, ValueError):
        return args
    bound.apply_defaults()
    return bound.args[len(itself) :]


@lru_cache(maxsize=256)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return a function's signature: layers of one kind share it, and each is asked once a batch."""
    return inspect.signature(function)


class _LaterCall:
    """Draws the positions of a layer's second and later calls in one pass, each from a random stream of its own."""

    def __init__(self, sampler: RowSampler, call: int) -> None:
        self._sampler = sampler
        self._call = call

    def positions(self, key: str, images: int, available: int) -> Tensor | None:
        """Return flat position indices (images, p), or None for all ``available`` positions."""
        return self._sampler.positions(f"{key}@{self._call}", images, available)
