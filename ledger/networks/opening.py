"""From an architecture and its weights to a network that is ready for work."""

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout

import torch
from torch import Tensor, nn

from ledger.domain.models import Architecture
from ledger.domain.settings import Preprocessing
from ledger.errors import DataError, NonFiniteError, PluginError, WeightsError
from ledger.plugin_manager import Plugins

from .network import Network
from .wrappers import unwrapped


def open_network(
    plugins: Plugins,
    architecture: Architecture,
    num_classes: int,
    state: Mapping[str, Tensor],
    example: Callable[[Preprocessing | None], Tensor],
    *,
    source: str,
    accept: Callable[[Network], None] | None = None,
    device: torch.device | None = None,
) -> Network:
    """Build a network, load its weights, see what an image does in it, and move it to a device.

    Args:
        plugins: Where loaders and layer handlers come from.
        architecture: What to build.
        num_classes: Number of outputs.
        state: The weights, by name.
        example: Returns one preprocessed image (1, channels, height, width). It gets the preprocessing that the
            architecture expects, and is called once the weights are known to fit.
        source: Where the weights come from, for errors.
        accept: Asked about the network before it gets its weights; raises an error if it is not the right one.
        device: Where to compute; if not given, the network stays as it was built.

    Raises:
        UsageError: No plugin builds the architecture.
        PluginError: A plugin failed.
        WeightsError: The weights do not fit, or the network does not return one logit for each class.
        DataError: The network cannot take the image.
        NonFiniteError: The network returns NaN or infinity for the image.
    """
    network = build_network(plugins, architecture, num_classes)
    if accept is not None:
        accept(network)
    network.load(state, source)
    image = example(network.expected)
    _require_logits(network.module, image, num_classes)
    network = network.observed(image)
    if device is not None:
        network.move(device)
    return network


def build_network(plugins: Plugins, architecture: Architecture, num_classes: int) -> Network:
    """Build the network of an architecture with the weights that its builder gives it, often random ones.

    Raises:
        UsageError: No plugin builds the architecture.
        PluginError: A plugin failed.
    """
    loaded = plugins.load_model(architecture.spec, architecture.options, num_classes)
    module = unwrapped(loaded.module, architecture.spec)
    return Network.of(module, plugins.layer_handlers(), loaded.preprocessing, loaded.code_digest, loaded.code_path)


def _require_logits(module: nn.Module, example: Tensor, classes: int) -> None:
    """Check that a network returns finite logits (1, classes) for an image (1, channels, height, width)."""
    try:
        with torch.inference_mode(), redirect_stdout(sys.stderr):
            outputs = module(example)
    except ImportError as error:
        raise PluginError(
            f"the network imports a module while it computes, and cannot: {error}", "import it at the top of the file"
        ) from error
    except Exception as error:
        raise DataError(
            f"the network cannot take images of shape {tuple(example.shape[1:])}: {error}", "set --input-size"
        ) from error
    if not isinstance(outputs, Tensor) or outputs.shape != (1, classes):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise WeightsError(
            f"the network answers {shape} for one image, not logits of shape (1, {classes})",
            "it must return one logit for each class of the data",
        )
    if not bool(torch.isfinite(outputs).all()):
        raise NonFiniteError("the network answers NaN or infinity for an image of the data", "check the weights")
