"""Which layers of a network the handlers claim, and which linear maps these layers hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from ledger.domain.linear_map import LinearMap
from ledger.errors import UnsupportedLayerError
from ledger.hookspecs import LayerHandler
from ledger.plugin_manager import guarded

from .map_groups import MapGroup, group_maps
from .parametrized import resolved
from .state_names import StateNames


@dataclass(frozen=True)
class EditableLayer:
    """A layer with its handler and its linear maps."""

    name: str
    module: nn.Module
    handler: LayerHandler
    maps: tuple[LinearMap, ...]
    map_groups: tuple[MapGroup, ...] = field(init=False)
    """The same maps, in groups that are computed together."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "map_groups", group_maps(self.maps))


@dataclass(frozen=True)
class HookedLayer:
    """A layer whose calls show input rows of linear maps.

    Usually it is an editable layer itself. Where several layers share a weight, one of them is editable, and all of
    them are hooked for its maps.
    """

    name: str
    module: nn.Module
    handler: LayerHandler
    maps: tuple[LinearMap, ...]
    """The maps as the layer's handler names them."""
    keys: Mapping[str, str]
    """The key of each of these maps, to the key of the map that is edited."""


@dataclass(frozen=True)
class LayerClaims:
    """What the handlers say about the layers of one network, in the order of its modules."""

    layers: tuple[EditableLayer, ...]
    """Every claimed layer, without those whose weight an earlier one holds."""
    hooked: tuple[HookedLayer, ...]
    """Every claimed layer."""
    handlers: Mapping[str, Mapping[str, str]]
    """First name of each claimed parameter, to the names of the layers that claim it, and the classes of their
    handlers."""
    refused: Mapping[str, str]
    """Name of each layer that its handler does not cover, to the reason."""


def claim_layers(module: nn.Module, handlers: Mapping[type[nn.Module], LayerHandler], names: StateNames) -> LayerClaims:
    """Ask the handlers about every module of a network.

    Args:
        module: The network.
        handlers: Layer class to handler; looked up along the method resolution order.
        names: The names in its state dict.

    Raises:
        PluginError: A handler failed.
    """
    claims = _ClaimsBuilder(module, names)
    for name, part in module.named_modules():
        handler = next((handlers[kind] for kind in type(part).__mro__ if kind in handlers), None)
        if handler is not None:
            claims.ask(name, part, handler)
    return claims.result()


class _ClaimsBuilder:
    """Collects claims layer by layer, and joins those that share a weight."""

    def __init__(self, network: nn.Module, names: StateNames) -> None:
        self._network = network
        self._names = names
        self._layers: list[EditableLayer] = []
        self._hooked: list[HookedLayer] = []
        self._handlers: dict[str, dict[str, str]] = {}
        self._refused: dict[str, str] = {}
        self._by_place: dict[tuple[str, int], LinearMap] = {}

    def ask(self, name: str, module: nn.Module, handler: LayerHandler) -> None:
        """Add a layer's maps, or the maps of an earlier layer whose weight it shares; or note why it is refused."""
        try:
            if "forward" in vars(module):
                raise UnsupportedLayerError("its forward was replaced by another function")
            maps = tuple(resolved(m, self._network, self._names.first) for m in _linear_maps(handler, name, module))
            own = [self._with_names(m) for m in maps]
            shared = [self._by_place[m.parameter, m.start] for m in own if (m.parameter, m.start) in self._by_place]
            taken = {self._names.first[n] for m in maps for n in m.parameters} & self._handlers.keys()
            if taken and not _cut_alike(own, shared):
                raise UnsupportedLayerError("it shares its weight with a layer that uses it in another shape")
        except UnsupportedLayerError as error:
            self._refused[name] = error.message
            return
        if not maps:
            return
        edited = shared or own
        if not shared:
            self._layers.append(EditableLayer(name, module, handler, tuple(own)))
            self._by_place |= {(m.parameter, m.start): m for m in own}
        keys = {m.key: e.key for m, e in zip(maps, edited, strict=True)}
        self._hooked.append(HookedLayer(name, module, handler, maps, keys))
        for parameter in {self._names.first[parameter] for m in maps for parameter in m.parameters}:
            self._handlers.setdefault(parameter, {})[name] = type(handler).__name__

    def result(self) -> LayerClaims:
        """Return the claims collected."""
        return LayerClaims(tuple(self._layers), tuple(self._hooked), self._handlers, self._refused)

    def _with_names(self, linear_map: LinearMap) -> LinearMap:
        """Return a map with the first name of its parameter, and all further names."""
        aliases = self._names.duplicates_of(linear_map.parameters)
        return replace(linear_map, parameter=self._names.first[linear_map.parameter], aliases=aliases)


def _linear_maps(handler: LayerHandler, name: str, module: nn.Module) -> tuple[LinearMap, ...]:
    maps = guarded(lambda: handler.linear_maps(name, module), f"{type(handler).__name__} on {name}")
    # The network itself may be a layer, and has no name.
    return tuple(
        m if name else replace(m, key=m.key.removeprefix("."), parameter=m.parameter.removeprefix(".")) for m in maps
    )


def _cut_alike(maps: Sequence[LinearMap], others: Sequence[LinearMap]) -> bool:
    """Whether two layers cut a shared weight into the same plain maps."""
    return [(m.start, m.stop, m.width, m.form) for m in maps] == [(m.start, m.stop, m.width, None) for m in others]
