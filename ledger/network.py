"""A built network with weights in it, and what of it can be edited."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import Tensor, nn

from ledger.bundles import Bundle, bundled
from ledger.domain.linear_map import LinearMap
from ledger.domain.records import Architecture
from ledger.domain.settings import Preprocessing
from ledger.errors import CheckpointError, UnsupportedLayerError
from ledger.hookspecs import LayerHandler
from ledger.plugin_manager import Plugins, guarded

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)  # noqa: SLF001 - the only name that covers all batch and instance norms
POSITIONAL = ("cls_token", "pos_embed", "dist_token", "reg_token")


class Treatment(StrEnum):
    """What the ledger does with a parameter."""

    EDITED = "edited"
    UNTOUCHED = "untouched by design"
    UNHANDLED = "unhandled"


@dataclass(frozen=True)
class ParameterCoverage:
    """How one parameter is treated, and why."""

    name: str
    shape: tuple[int, ...]
    treatment: Treatment
    detail: str


@dataclass(frozen=True)
class EditableLayer:
    """A layer with its handler and its linear maps."""

    name: str
    module: nn.Module
    handler: LayerHandler
    maps: tuple[LinearMap, ...]
    bundles: tuple[Bundle, ...] = field(init=False)
    """The same maps, in bundles that are computed together."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bundles", bundled(self.maps))


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
        self._refused: dict[str, str] = {}
        self.layers = tuple(self._editable(handlers))

    @property
    def maps(self) -> tuple[LinearMap, ...]:
        """Every linear map, in the order of the network's modules."""
        return tuple(linear_map for layer in self.layers for linear_map in layer.maps)

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """Every linear map, in bundles that are computed together, in the order of the network's modules."""
        return tuple(bundle for layer in self.layers for bundle in layer.bundles)

    def move(self, device: torch.device) -> None:
        """Compute on a device from now on; images and weights given later may be anywhere.

        Convolutions are laid out channels last: on processors they then run up to twice as fast.
        """
        self.device = device
        self.module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def placed(self, images: Tensor) -> Tensor:
        """Return images (n, channels, height, width) where and how the network computes."""
        return images.to(self.device).contiguous(memory_format=torch.channels_last)

    def adapted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights where and how the network computes: on its device, in its precision, channels last."""
        held = self.module.state_dict()
        moved = {name: tensor.to(self.device, held[name].dtype) for name, tensor in state.items()}
        return {
            name: tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
            for name, tensor in moved.items()
        }

    def sort_layers(self, example: Tensor) -> None:
        """Put the layers in the order in which an image passes through them; those it passes by go first."""
        order = {name: position for position, name in enumerate(self._called(example))}
        self.layers = tuple(sorted(self.layers, key=lambda layer: order.get(layer.name, -1)))

    def state(self) -> dict[str, Tensor]:
        """Return the current weights and buffers, by name."""
        return {name: tensor.detach() for name, tensor in self.module.state_dict().items()}

    def load(self, state: Mapping[str, Tensor], source: str) -> None:
        """Load weights that must fit exactly.

        Raises:
            CheckpointError: Keys are missing or unknown, or a shape differs.
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
        problems = [
            *([f"it lacks {_some(missing)}"] if missing else []),
            *([f"it has unknown {_some(unknown)}"] if unknown else []),
            *([_some(wrong)] if wrong else []),
        ]
        if problems:
            raise CheckpointError(
                f"{source} does not fit the network: {'; '.join(problems)}",
                "check --arch, --arch-option and that the number of outputs equals the number of classes",
            )
        self.module.load_state_dict(dict(state))

    def coverage(self, example: Tensor) -> list[ParameterCoverage]:
        """Say of every parameter how it is treated.

        Args:
            example: One preprocessed image (1, channels, height, width), run through the network to
                see which layers a forward pass really calls.
        """
        called = self._called(example)
        edited: dict[str, str] = {}
        for layer in self.layers:
            for linear_map in layer.maps:
                if layer.name in called:
                    edited[linear_map.parameter] = type(layer.handler).__name__
                else:
                    self._refused[layer.name] = "its forward pass goes around the layer"
        return [
            self._cover(prefix, name, module, parameter, edited)
            for prefix, module in self.module.named_modules()
            for name, parameter in module.named_parameters(recurse=False)
        ]

    def _cover(
        self, prefix: str, name: str, module: nn.Module, parameter: Tensor, edited: Mapping[str, str]
    ) -> ParameterCoverage:
        full = f"{prefix}.{name}" if prefix else name
        if full in edited:
            treatment, detail = Treatment.EDITED, edited[full]
        elif parameter.ndim <= 1 or isinstance(module, NORMS):
            treatment, detail = Treatment.UNTOUCHED, "bias, scale or normalisation"
        elif isinstance(module, nn.Embedding) or name in POSITIONAL:
            treatment, detail = Treatment.UNTOUCHED, "embedding or token"
        else:
            treatment = Treatment.UNHANDLED
            detail = self._refused.get(prefix, f"no handler for {type(module).__name__}")
        return ParameterCoverage(full, tuple(parameter.shape), treatment, detail)

    def _editable(self, handlers: Mapping[type[nn.Module], LayerHandler]) -> Iterable[EditableLayer]:
        for name, module in self.module.named_modules():
            handler = next((handlers[kind] for kind in type(module).__mro__ if kind in handlers), None)
            if handler is None:
                continue
            try:
                maps = _linear_maps(handler, name, module)
            except UnsupportedLayerError as error:
                self._refused[name] = error.message
                continue
            yield EditableLayer(name, module, handler, maps)

    def _called(self, example: Tensor) -> dict[str, None]:
        """Return the names of the layers that a forward pass calls, in the order of their first calls."""
        called: dict[str, None] = {}
        hooks = [
            layer.module.register_forward_pre_hook(lambda _m, _i, name=layer.name: called.setdefault(name))
            for layer in self.layers
        ]
        try:
            with torch.inference_mode():
                self.module(self.placed(example))
        finally:
            for hook in hooks:
                hook.remove()
        return called


def build_network(plugins: Plugins, architecture: Architecture, num_classes: int) -> Network:
    """Build the network of an architecture; its weights are random until :meth:`Network.load`."""
    loaded = plugins.load_model(architecture.spec, architecture.options, num_classes)
    return Network(loaded.module, plugins.layer_handlers(), loaded.preprocessing, loaded.code_digest)


def _linear_maps(handler: LayerHandler, name: str, module: nn.Module) -> tuple[LinearMap, ...]:
    return tuple(guarded(lambda: handler.linear_maps(name, module), f"{type(handler).__name__} on {name}"))


def _some(names: Sequence[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
