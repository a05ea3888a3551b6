"""A network with weights in it, and what of it can be edited."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap
from ledger.domain.settings import Preprocessing
from ledger.hookspecs import LayerHandler

from .coverage import ParameterCoverage, Treatment, judge
from .dataflow import Dataflow, trace_dataflow
from .layer_claims import EditableLayer, HookedLayer, LayerClaims, claim_layers
from .layouts import Layout, channels_last
from .map_groups import MapGroup
from .state_names import StateNames, require_fit


@dataclass(frozen=True, eq=False)
class Network:
    """A network in evaluation mode, its editable layers, and the device it computes on.

    :func:`~ledger.networks.opening.open_network` makes one that is ready for work.
    """

    module: nn.Module
    claims: LayerClaims
    """What the layer handlers say."""
    names: StateNames
    layout: Layout
    """Where and how the module's tensors lie."""
    layers: tuple[EditableLayer, ...]
    """The editable layers: after :meth:`observed` in the order in which an image passes through them."""
    coverage: tuple[ParameterCoverage, ...] = ()
    """How each parameter is treated; empty until :meth:`observed`."""
    expected: Preprocessing | None = None
    """The preprocessing that the architecture expects, where its loader knows it."""
    code_digest: str = ""
    """Digest of the code that defines the network."""
    code_path: str = ""
    """File of that code, if it is one that is held to its digest."""

    @classmethod
    def of(
        cls,
        module: nn.Module,
        handlers: Mapping[type[nn.Module], LayerHandler],
        expected: Preprocessing | None = None,
        code_digest: str = "",
        code_path: str = "",
    ) -> "Network":
        """Put a module into evaluation mode and ask the handlers about its layers; every claimed layer is editable.

        Args:
            module: The network, with any weights.
            handlers: Layer class to handler; looked up along the method resolution order.
            expected: The preprocessing that the architecture expects.
            code_digest: Digest of the code that defines the network.
            code_path: File of that code, if it is one that is held to its digest.

        Raises:
            PluginError: A handler failed.
        """
        module.eval()
        names = StateNames.of(module)
        claims = claim_layers(module, handlers, names)
        layout = Layout(module)
        return cls(module, claims, names, layout, claims.layers, (), expected, code_digest, code_path)

    def observed(self, example: Tensor) -> "Network":
        """Return the same network with its coverage, and with only the layers that the coverage calls edited.

        Both networks share the module and its weights.

        Args:
            example: One preprocessed image (1, channels, height, width). It is run through the network, to see what a
                forward pass really does with each parameter.
        """
        hooked = [layer.name for layer in self.claims.hooked]
        dataflow = trace_dataflow(self.module, self.prepare_images(example), hooked)
        coverage = tuple(judge(self.module, dataflow, self.claims))
        return replace(self, coverage=coverage, layers=_edited_layers(self.claims, coverage, dataflow))

    @property
    def maps(self) -> tuple[LinearMap, ...]:
        """Every linear map, in the order of the layers."""
        return tuple(linear_map for layer in self.layers for linear_map in layer.maps)

    @property
    def map_groups(self) -> tuple[MapGroup, ...]:
        """Every linear map, in groups that are computed together, in the order of the layers."""
        return tuple(group for layer in self.layers for group in layer.map_groups)

    @property
    def hooked_layers(self) -> tuple[HookedLayer, ...]:
        """The layers whose calls show the input rows of these maps, in the order of the network's modules."""
        keys = {m.key for m in self.maps}
        return tuple(hooked for hooked in self.claims.hooked if keys.issuperset(hooked.keys.values()))

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.layout.device

    def move(self, device: torch.device) -> None:
        """Compute on a device from now on; images and weights given later may be anywhere."""
        self.layout.apply(device)

    def prepare_images(self, images: Tensor) -> Tensor:
        """Return images (n, channels, height, width) on the network's device, in its memory layout."""
        return channels_last(images.to(self.device))

    def prepare_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights, by name, on the network's device, in its precision and memory layout.

        They are for a functional call: what one module holds has only one name.
        """
        own = self.module.state_dict()
        moved = {name: tensor.to(self.device, own[name].dtype) for name, tensor in state.items()}
        arranged = {name: self.layout.arrange(name, tensor) for name, tensor in moved.items()}
        # One parameter under two names must be one tensor; and what one module holds must be named once, since torch
        # would put it back wrongly after a functional call.
        return {name: arranged[self.names.first.get(name, name)] for name in arranged if name in self.names.held}

    def state(self) -> dict[str, Tensor]:
        """Return the current weights and buffers, by name."""
        return {name: tensor.detach() for name, tensor in self.module.state_dict().items()}

    def require_fit(self, state: Mapping[str, Tensor], source: str) -> None:
        """Check that weights fit the network exactly; nothing changes.

        Args:
            state: The weights, by name.
            source: Where they come from, for the error.

        Raises:
            WeightsError: Names are missing or unknown, or a shape differs.
        """
        require_fit(state, self.module.state_dict(), self.names.duplicates, source)

    def load(self, state: Mapping[str, Tensor], source: str) -> None:
        """Replace the weights by others that fit exactly.

        Args:
            state: The weights, by name.
            source: Where they come from, for the error.

        Raises:
            WeightsError: Names are missing or unknown, or a shape differs.
        """
        self.require_fit(state, source)
        # Some modules ask which version of themselves wrote the weights; the file does not say, so: this one.
        own = self.module.state_dict()
        # What may be missing stays as it is, and a counter of one element becomes a scalar.
        fitted = {name: state[name].reshape(own[name].shape) if name in state else own[name] for name in own}
        versioned = OrderedDict(fitted)
        vars(versioned)["_metadata"] = getattr(own, "_metadata", None)
        self.module.load_state_dict(versioned)


def _edited_layers(
    claims: LayerClaims, coverage: tuple[ParameterCoverage, ...], dataflow: Dataflow
) -> tuple[EditableLayer, ...]:
    """Return the layers whose parameters are all edited, in the order of their first calls."""
    edited = {c.name for c in coverage if c.treatment is Treatment.EDITED}
    order = {name: position for position, name in enumerate(dataflow.calls)}
    first: dict[str, HookedLayer] = {}
    for hooked in sorted(claims.hooked, key=lambda layer: order.get(layer.name, len(order))):
        for key in hooked.keys.values():
            first.setdefault(key, hooked)
    kept = [
        # A pass that starts at this layer must not miss an earlier use of its weight.
        replace(layer, name=first[layer.maps[0].key].name, module=first[layer.maps[0].key].module)
        for layer in claims.layers
        if edited.issuperset(name for m in layer.maps for name in m.parameters)
    ]
    return tuple(sorted(kept, key=lambda layer: order[layer.name]))
