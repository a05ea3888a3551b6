"""A built network with weights in it, and what of it can be edited."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.domain.models import Architecture
from ledger.domain.settings import Preprocessing
from ledger.errors import UnsupportedLayerError, WeightsError
from ledger.hookspecs import LayerHandler
from ledger.plugin_manager import Plugins, guarded

from .coverage import Claims, ParameterCoverage, Treatment, judge
from .dataflow import trace_dataflow
from .layouts import Layout, channels_last
from .map_groups import MapGroup, group_maps
from .parametrized import resolved


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
class Reader:
    """A layer whose inputs flow into maps; where layers share a weight, each of them reads for the same maps."""

    name: str
    module: nn.Module
    handler: LayerHandler
    maps: tuple[LinearMap, ...]
    """As its handler names them."""
    keys: Mapping[str, str]
    """The handler's key to the key of the map that is edited."""


class Network:
    """A network in evaluation mode with its registered weights, and its editable layers.

    Args:
        module: Built by a plugin.
        handlers: Layer class to handler; looked up along the method resolution order.
        expected: What the architecture's loader says about preprocessing.
        code_digest: Digest of the code that defines it.
    """

    def __init__(
        self,
        module: nn.Module,
        handlers: Mapping[type[nn.Module], LayerHandler],
        expected: Preprocessing | None,
        code_digest: str,
    ) -> None:
        self.module = module.eval()
        self.expected = expected
        self.code_digest = code_digest
        self.device = torch.device("cpu")
        self._layout = Layout(self.module)
        self._names = _first_names(self.module)
        self._places_held = _places_held(self.module)
        self._others = {name: first for name, first in self._names.items() if name != first}
        self._claims = Claims()
        self._places: dict[tuple[str, int], LinearMap] = {}
        self.layers: tuple[EditableLayer, ...] = ()
        self._readers: tuple[Reader, ...] = ()
        for name, part in self.module.named_modules():
            self._add(name, part, handlers)

    @property
    def maps(self) -> tuple[LinearMap, ...]:
        """Every linear map, in the order of the network's modules."""
        return tuple(linear_map for layer in self.layers for linear_map in layer.maps)

    @property
    def map_groups(self) -> tuple[MapGroup, ...]:
        """Every linear map, in groups that are computed together, in the order of the network's modules."""
        return tuple(group for layer in self.layers for group in layer.map_groups)

    @property
    def readers(self) -> tuple[Reader, ...]:
        """The layers whose inputs flow into these maps."""
        keys = {m.key for m in self.maps}
        return tuple(reader for reader in self._readers if keys.issuperset(reader.keys.values()))

    def move(self, device: torch.device) -> None:
        """Compute on a device from now on; images and weights given later may be anywhere."""
        self.device = device
        self._layout.apply(device)

    def prepare_images(self, images: Tensor) -> Tensor:
        """Return images (n, channels, height, width) where and how the network computes."""
        return channels_last(images.to(self.device))

    def prepare_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights where and how the network computes: on its device, in its precision, in its layout."""
        held = self.module.state_dict()
        moved = {name: tensor.to(self.device, held[name].dtype) for name, tensor in state.items()}
        laid_out = {name: self._layout.arrange(name, tensor) for name, tensor in moved.items()}
        # One parameter under two names must be one tensor; and what one module holds must be named once, since torch
        # would put it back wrongly after a functional call.
        return {name: laid_out[self._names.get(name, name)] for name in laid_out if name in self._places_held}

    def find_layers(self, example: Tensor) -> None:
        """Keep the layers that the coverage calls edited, in the order in which an image passes through them."""
        edited = {c.name for c in self.coverage(example) if c.treatment is Treatment.EDITED}
        order = {name: position for position, name in enumerate(self._dataflow.calls)}
        first: dict[str, Reader] = {}
        for reader in sorted(self._readers, key=lambda r: order.get(r.name, len(order))):
            for key in reader.keys.values():
                first.setdefault(key, reader)
        kept = [
            # Whoever enters the network at a layer must not miss an earlier use of its weight.
            replace(layer, name=first[layer.maps[0].key].name, module=first[layer.maps[0].key].module)
            for layer in self.layers
            if edited.issuperset(name for m in layer.maps for name in m.parameters)
        ]
        self.layers = tuple(sorted(kept, key=lambda layer: order[layer.name]))

    def state(self) -> dict[str, Tensor]:
        """Return the current weights and buffers, by name."""
        return {name: tensor.detach() for name, tensor in self.module.state_dict().items()}

    def load(self, state: Mapping[str, Tensor], source: str) -> None:
        """Load weights that must fit exactly.

        Raises:
            WeightsError: Keys are missing or unknown, or a shape differs.
        """
        own = self.module.state_dict()
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        wrong = [
            f"{k} is {tuple(state[k].shape)}, the network has {tuple(own[k].shape)}"
            for k in sorted(own.keys() & state.keys())
            if own[k].shape != state[k].shape
        ] + [
            f"{k} holds {state[k].dtype}, the network {own[k].dtype}"
            for k in sorted(own.keys() & state.keys())
            if (own[k].is_floating_point(), own[k].is_complex())
            != (state[k].is_floating_point(), state[k].is_complex())
        ]
        differing = [
            f"{k} differs from {first}, which is the same parameter"
            for k, first in self._others.items()
            if not (missing or wrong) and not torch.equal(state[k], state[first])
        ]
        problems = [
            *([f"it lacks {_some(missing)}"] if missing else []),
            *([f"it has unknown {_some(unknown)}"] if unknown else []),
            *([_some(wrong)] if wrong else []),
            *([_some(differing)] if differing else []),
        ]
        if problems:
            raise WeightsError(
                f"{source} does not fit the network: {'; '.join(problems)}",
                "check --arch, --arch-option and that the number of outputs equals the number of classes",
            )
        # Some modules ask which version of themselves wrote the weights; the file does not say, so: this one.
        known = OrderedDict(state)
        vars(known)["_metadata"] = getattr(own, "_metadata", None)
        self.module.load_state_dict(known)

    def coverage(self, example: Tensor) -> list[ParameterCoverage]:
        """Say of every parameter how it is treated.

        Args:
            example: One preprocessed image (1, channels, height, width), run through the network to
                see what a forward pass really does with each parameter.
        """
        self._dataflow = trace_dataflow(
            self.module, self.prepare_images(example), [reader.name for reader in self._readers]
        )
        return judge(self.module, self._dataflow, self._claims)

    def _add(self, name: str, module: nn.Module, handlers: Mapping[type[nn.Module], LayerHandler]) -> None:
        """Find a module's handler and its maps, or the maps of another layer whose weight it shares."""
        handler = next((handlers[kind] for kind in type(module).__mro__ if kind in handlers), None)
        if handler is None:
            return
        try:
            if "forward" in vars(module):
                raise UnsupportedLayerError("its forward was replaced by another function")
            maps = tuple(resolved(m, self.module, self._names) for m in _linear_maps(handler, name, module))
            own = [replace(m, parameter=self._names[m.parameter], aliases=self._aliases(m)) for m in maps]
            shared = [self._places[m.parameter, m.start] for m in own if (m.parameter, m.start) in self._places]
            taken = {self._names[n] for m in maps for n in m.parameters} & self._claims.readers.keys()
            if taken and not _alike(own, shared):
                raise UnsupportedLayerError("it shares its weight with a layer that uses it in another shape")
        except UnsupportedLayerError as error:
            self._claims.refused[name] = error.message
            return
        if not maps:
            return
        edited = shared or own
        if not shared:
            self.layers += (EditableLayer(name, module, handler, tuple(own)),)
            self._places |= {(m.parameter, m.start): m for m in own}
        self._readers += (
            Reader(name, module, handler, maps, {m.key: e.key for m, e in zip(maps, edited, strict=True)}),
        )
        for parameter in {self._names[parameter] for m in maps for parameter in m.parameters}:
            self._claims.readers.setdefault(parameter, {})[name] = type(handler).__name__

    def _aliases(self, linear_map: LinearMap) -> tuple[tuple[str, str], ...]:
        """Return the other names of a map's parameters in the state dict."""
        first = {self._names[name] for name in linear_map.parameters}
        return tuple((own, name) for name, own in self._others.items() if own in first)


def build_network(plugins: Plugins, architecture: Architecture, num_classes: int) -> Network:
    """Build the network of an architecture; its weights are random until :meth:`Network.load`."""
    loaded = plugins.load_model(architecture.spec, architecture.options, num_classes)
    return Network(loaded.module, plugins.layer_handlers(), loaded.preprocessing, loaded.code_digest)


def _linear_maps(handler: LayerHandler, name: str, module: nn.Module) -> tuple[LinearMap, ...]:
    maps = guarded(lambda: handler.linear_maps(name, module), f"{type(handler).__name__} on {name}")
    # The network itself may be a layer, and has no name.
    return tuple(
        m if name else replace(m, key=m.key.removeprefix("."), parameter=m.parameter.removeprefix(".")) for m in maps
    )


def _first_names(module: nn.Module) -> dict[str, str]:
    """Return the first name of every parameter, by each of its names."""
    first = {id(parameter): name for name, parameter in module.named_parameters()}
    return {name: first[id(parameter)] for name, parameter in module.named_parameters(remove_duplicate=False)}


def _places_held(module: nn.Module) -> frozenset[str]:
    """Return a name of every place where a tensor is held; a module that stands in several places has one."""
    return frozenset(
        f"{prefix}.{name}" if prefix else name
        for prefix, part in module.named_modules()
        # The only way to list shared ones as well; a scripted module has no iterator, but keys.
        for name in (*part._parameters.keys(), *part._buffers.keys())  # noqa: SLF001
    )


def _alike(maps: Sequence[LinearMap], others: Sequence[LinearMap]) -> bool:
    """Whether two layers cut a shared weight into the same plain maps."""
    return [(m.start, m.stop, m.width, m.form) for m in maps] == [(m.start, m.stop, m.width, None) for m in others]


def _some(names: Sequence[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
